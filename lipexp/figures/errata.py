"""The errors in print, in words; what shows them is measured by the figures' checks."""

from __future__ import annotations

from dataclasses import dataclass

DECAY, LDLT = "arXiv 2503.00240", "arXiv 2601.08253"
REPOSITORY = "github.com/Marius-Juston/SLLLipschitzInitialization"


@dataclass(frozen=True)
class Erratum:
    """``printed``: what stands in print, and where; ``truth``: what is so instead, and why."""

    title: str
    printed: str
    truth: str
    figures: tuple[str, ...]  # that measure it


ERRATA = {
    1: Erratum(
        "The upper bounds for generalised normal weights are no upper bounds",
        f"Three formulas, for Laplace, normal and uniform free weights, plotted by the script of "
        f"{DECAY}, whose abstract calls them upper bounds.",
        "The true variance lies above them: for the normal at every d, n of 2 or more, for Laplace "
        "there and at n = 1, for the uniform unless n is small against sqrt d. For the normal the "
        "inequality points the other way, because sqrt d, which is at least E|v1.v2|/|v|, stands "
        "in a denominator. What bounds every AOL weight, random or trained, is 1/max(d, n).",
        ("gnd_bounds",),
    ),
    2: Erratum(
        "The curve drawn as theory is neither exact nor a bound",
        f"q_mf = 1/(d + (n - 1) E|S_d|), drawn as “bound” and as “theoretical” by the scripts of "
        f"{DECAY}.",
        "It is a ratio of expectations in the place of the expectation of a ratio: too high at "
        "small sizes and where n is larger than d, too low in between. At the sizes plotted the "
        "difference cannot be seen; q of one-dimensional quadrature is exact.",
        ("gnd_bounds", "weight_variance"),
    ),
    3: Erratum(
        "Exchanged labels in the grouped gradient figure",
        "The upper sampled curve is labelled “sampled”, the lower one “sampled (b = 0)”: the "
        "plotting function is called with (zero bias, bias) and labels them the other way round.",
        "Zero bias is the upper curve: there the product of cotangent and signal is conserved, so "
        "that a cotangent of ones gains on the law of a random one; under a bias it does not.",
        ("gradient_variance_group",),
    ),
    4: Erratum(
        "One matrix for all layers in the gradient figures",
        "The script repeats one module L times, so that all layers have the same matrix and bias, "
        "where the law that it draws takes fresh ones.",
        "With shared matrices the mean over networks is larger, carried by few networks of a long "
        "tail, while the median is that of fresh matrices. It is an error of method; at the "
        "paper's width it is not what separates its two curves, which the next error does.",
        ("gradient_variance", "gradient_variance_bias"),
    ),
    5: Erratum(
        "The gap between theory and sample in the gradient figure is the cotangent's",
        "The sampled curve lies 7 to 8 times above the curve drawn as theory at l = 2 (read off "
        "the plot), without a word on it that could be read.",
        "The loss is the sum of the outputs, so that the cotangent is ones, which is correlated "
        "with the signal: after k layers the second moment is 1 + (2 k - 1)/pi times the law, "
        "9.6 at l = 2. A random cotangent has the law.",
        ("gradient_variance",),
    ),
    6: Erratum(
        "A factor 2 between theory and sample in the forward figure",
        "The curve drawn as theory is the product of n q_mf / 2 from layer 1 on.",
        "The input meets no relu in front of layer 1, so that layer 1 has no factor 1/2: the "
        "sampled curve lies at twice the curve drawn as theory, at every layer.",
        ("forward_variance",),
    ),
    7: Erratum(
        "The law is one in expectation; one network falls faster",
        "The law is compared with single networks as if it held for them.",
        "The mean over networks is carried by rare lucky ones. One network falls by the mean of "
        "the logarithm, 5/(2 n ln 10) per layer more under relu: 0.002 decades over the paper's "
        "fifteen layers of width 8192, 17 decades over a thousand layers of width 64.",
        ("typical_rate",),
    ),
    8: Erratum(
        "Not every initialization decays to zero",
        f"{DECAY} says that the initialization always decays.",
        "So it does for independent entries, as n q / 2 is at most 1/2. Orthogonal weights with "
        "maxmin, abs or identity, and residual SLL with orthogonal or identity weights and relu, "
        "do not decay at all.",
        ("typical_rate", "residual_law", "decay_atlas", "cures"),
    ),
    9: Erratum(
        "The corrected bias is no remedy",
        "A bias of variance 1 - n q / 2 is proposed, which holds the second moment at 1.",
        "It holds the second moment and nothing else: the bias is common to all inputs, and what "
        "differs between inputs decays as without it. The authors' own later data say the same.",
        ("input_variance_bias", "covertype", "residual_sll", "cures"),
    ),
    10: Erratum(
        "What was trained on Covertype is not what is written",
        "The text rescales columns; the first training script's module rescales rows, keeps a relu "
        "on the class scores, draws q = exp N(0, 1) and, with its bias flag off, leaves the bias "
        "as uninitialised memory. A later revision repairs all four.",
        "At initialisation the module's rate is another one; for square layers the rows make no "
        "difference, the random q does.",
        ("typical_rate",),
    ),
    11: Erratum(
        "The LDLT layer's output variance of .41",
        f"{LDLT} prints output variances of 0.41 at standard deviation 1/sqrt n and 0.9 at "
        "10/sqrt n.",
        "The limits of wide square layers are 0.38197 and 0.90488, and every smaller width has "
        "less: no square Gaussian matrix gives .41. Where it comes from could not be found out.",
        ("ldlt_variance",),
    ),
}
