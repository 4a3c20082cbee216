"""The loss that asks for a margin."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def offset_cross_entropy(
    scores: Tensor, labels: Tensor, offset: float = 0.0, temperature: float = 1.0
) -> Tensor:
    """Mean over the batch of t CE((scores - u onehot(label)) / t), u = offset, t = temperature.

    scores: (batch, classes), labels: (batch,) -> ().  The right class must lead by u before it
    counts as right; the factor t outside keeps the gradient's scale, at most sqrt(2) per image
    whatever t, so that a learning rate fits every temperature.  For t -> 0 it is the hinge
    max_j (scores_j - scores_label + u [j != label]).  Source: Prach & Lampert, arXiv 2208.03160.
    """
    margin = offset * F.one_hot(labels, scores.shape[1]).to(scores.dtype)
    return temperature * F.cross_entropy((scores - margin) / temperature, labels)
