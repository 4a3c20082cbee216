"""The decay paper's figures, print and truth side by side: one file per figure, by name.

Each file ends with ``FIGURE``, a `lipexp.figures.figure.PaperFigure`.  ``trains``: the figure's
data are training runs.  Those that the papers do not have answer questions they leave open.
"""

from __future__ import annotations

from lipexp.registry import Entry, Registry


def _entry(name: str, description: str, *, trains: bool = False) -> tuple[str, Entry]:
    return name, Entry(f"lipexp.figures.{name}:FIGURE", description, {"trains": trains})


FIGURES = Registry(
    "figure",
    dict(
        [
            _entry("weight_variance", "variance of an effective AOL weight against its size"),
            _entry(
                "gnd_bounds", "the printed bounds for Laplace, normal and uniform, and the truth"
            ),
            _entry("product_density", "sums of products of two weights: density and mean size"),
            _entry("forward_variance", "variance of the signal against depth, zero bias"),
            _entry("forward_histograms", "histograms of the signal, zero bias"),
            _entry("forward_variance_bias", "variance of the signal against depth, bias N(0, 1)"),
            _entry("forward_histograms_bias", "histograms of the signal, bias N(0, 1)"),
            _entry("input_variance_bias", "what is left of the input under each bias mode"),
            _entry("gradient_variance", "variance of the gradient against depth, zero bias"),
            _entry(
                "gradient_variance_bias", "variance of the gradient against depth, bias N(0, 1)"
            ),
            _entry("gradient_variance_group", "both of them in one plot, labelled rightly"),
            _entry("gradient_histograms", "histograms of the gradient, zero bias"),
            _entry("residual_law", "residual SLL: second moment against depth"),
            _entry("ldlt_variance", "LDLT: output variance against size and scale"),
            _entry("ldlt_series", "LDLT: the truncated series against the truth"),
            _entry("aolk_decay", "AOL with Gram iterations: norm and decay per layer"),
            _entry("typical_rate", "decay per layer: law in expectation, one network, one input"),
            _entry("decay_atlas", "every layer, activation, init and bias: which carry a signal"),
            _entry("covertype", "Covertype: accuracy against depth and bias", trains=True),
            _entry(
                "cifar10_feedforward",
                "CIFAR-10: accuracy and certified accuracy against depth",
                trains=True,
            ),
            _entry("residual_sll", "CIFAR-10: residual SLL, default and corrected", trains=True),
            _entry("cures", "MNIST: what trains at depth 15 and 30, what does not", trains=True),
        ]
    ),
)
