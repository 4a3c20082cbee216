"""The loop: epochs of steps, and what a network scores on a split.

Everything an epoch draws is a function of (seed, epoch), and the learning rate one of the step, so
weights and optimiser state are all that a resumed training needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from lipexp.certification.radii import margins
from lipexp.errors import RunError
from lipexp.training import AUGMENTATIONS, SCHEDULES
from lipexp.training.examples import Examples, epoch_order, parts
from lipexp.training.losses import offset_cross_entropy
from lipexp.training.optimizers import make_optimizer
from lipexp.training.recipe import Recipe

# (steps done, steps in all, loss of the latest step): of the whole training
Progress = Callable[[int, int, float], None]

CHECK_EVERY = 50  # steps between looks at the losses: a look waits for the device
REPORT_EVERY = 0.2  # seconds


class Diverged(RunError):
    """A loss or a weight is no longer finite.  ``step`` and ``epoch`` count from 1; ``lr`` there.

    The line has no remedy: the caller adds which checkpoint is left.
    """

    def __init__(self, what: str, *, step: int, epoch: int, lr: float):
        super().__init__(f"{what} at step {step:,} (epoch {epoch}), learning rate {lr:.3g}")
        self.step, self.epoch, self.lr = step, epoch, lr


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch.  ``epoch`` and ``step`` are counts of what is done; ``lr`` of the last step.

    ``train_loss``: mean over the epoch's images, each in the step it was used in;
    ``train_accuracy``: the share of them that were right, likewise: augmented, and by weights that
    were still moving.  ``seconds``: drawing, augmentation and steps, the device waited for; no
    evaluation.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    seconds: float
    images_per_second: float


class Training:
    """A network on its way through a recipe.

    network: moved to the examples' device by the caller, in the dtype it trains in.  ``epoch`` and
    ``step`` count what is done; all state beside them is in ``network`` and ``optimizer``.
    Raises UserError for an augmentation that the examples cannot have.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, examples: Examples, seed: int):
        self.network, self.recipe, self.examples, self.seed = network, recipe, examples, seed
        self.optimizer = make_optimizer(network, recipe)
        self.epoch = 0
        self.step = 0
        self._parts = parts(len(examples), recipe.batch)
        self._schedule = SCHEDULES[recipe.schedule]
        self._augmentation = AUGMENTATIONS[recipe.augment](examples.shape)
        self._dtype = next(network.parameters()).dtype

    @property
    def steps_per_epoch(self) -> int:
        return len(self._parts)

    @property
    def total_steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    def lr_of(self, step: int) -> float:
        """The learning rate of a step, 1..total_steps: the schedule's in the middle of the step.

        In the middle, so that no step is wasted on a rate of 0 at either end.
        """
        return self.recipe.lr * self._schedule((step - 0.5) / self.total_steps)

    def run_epoch(self, progress: Progress | None = None) -> EpochMetrics:
        """Trains one more epoch; ``progress`` is called at most five times a second and at its end.

        Raises Diverged for a loss that is not finite, at most 50 steps after it, and for a weight
        that is not at the epoch's end; ValueError when all epochs are done.
        """
        if self.epoch >= self.recipe.epochs:
            raise ValueError(f"all {self.recipe.epochs} epochs are done")
        examples, epoch = self.examples, self.epoch + 1
        self._wait()
        began = reported = time.perf_counter()
        self.network.train()
        order = epoch_order(len(examples), self.seed, epoch).to(examples.device)
        change = None
        if self._augmentation is not None:
            change = self._augmentation.draw(len(examples), self.seed, epoch, examples.device)
        losses = torch.zeros(len(self._parts), dtype=self._dtype, device=examples.device)
        right = torch.zeros((), dtype=torch.int64, device=examples.device)
        checked = 0
        for number, (start, stop) in enumerate(self._parts):
            loss, hits = self._train_on(*examples.batch(order[start:stop], self._dtype, change))
            losses[number] = loss
            right += hits
            done = number + 1
            if done - checked == CHECK_EVERY or done == len(self._parts):
                self._check_losses(losses[checked:done], first=self.step - (done - checked) + 1)
                checked = done
            if progress is not None:
                now = time.perf_counter()
                if now - reported >= REPORT_EVERY or done == len(self._parts):
                    reported = now
                    progress(self.step, self.total_steps, float(loss))
        self._check_weights()
        self._wait()
        seconds = time.perf_counter() - began
        self.epoch = epoch
        sizes = torch.tensor([stop - start for start, stop in self._parts], dtype=torch.float64)
        return EpochMetrics(
            epoch=epoch,
            step=self.step,
            lr=self.lr_of(self.step),
            train_loss=float(losses.double().cpu() @ sizes) / len(examples),
            train_accuracy=int(right) / len(examples),
            seconds=seconds,
            images_per_second=len(examples) / seconds,
        )

    def _train_on(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step; its loss and how many images were right, () each, left on the device."""
        recipe, self.step = self.recipe, self.step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr_of(self.step)
        scores = self.network(inputs)
        loss = offset_cross_entropy(scores, labels, recipe.offset, recipe.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (scores.detach().argmax(1) == labels).sum()

    def _check_losses(self, losses: Tensor, first: int) -> None:
        """Raises Diverged for the first loss that is not finite; ``first`` is the first's step."""
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            which = int(bad[0])
            raise self._diverged(f"the loss is {float(losses[which])}", first + which)

    def _check_weights(self) -> None:
        """Raises Diverged where the last step spoilt a weight: no later loss would show it."""
        for name, weight in self.network.named_parameters():
            if not bool(torch.isfinite(weight.detach()).all()):
                raise self._diverged(f"{name} is not finite any more", self.step)

    def _diverged(self, what: str, step: int) -> Diverged:
        return Diverged(what, step=step, epoch=self.epoch + 1, lr=self.lr_of(step))

    def _wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.examples.device.type == "cuda":
            torch.cuda.synchronize(self.examples.device)


@dataclass(frozen=True)
class Evaluation:
    """Shares of a split: right, and right by a margin (``estimated_cra``, by the radius's name)."""

    accuracy: float
    estimated_cra: dict[str, float]


@torch.no_grad()
def evaluate(
    network: nn.Module,
    examples: Examples,
    constants: Tensor,
    eps: Sequence[tuple[str, Fraction]],
    batch: int,
) -> Evaluation:
    """Accuracy and estimated certified robust accuracy of a network in evaluation mode.

    ``constants``: Lipschitz constants of the differences of two scores, (classes, classes);
    ``eps``: l2 radii with their names.  Counted is where every margin is > 0, and > constant eps; a
    tie or a NaN never is.  An estimate: in the given precision, its rounding not paid for.
    """
    dtype = next((p.dtype for p in network.parameters()), examples.inputs.dtype)
    radii = torch.tensor([float(radius) for _, radius in eps], dtype=torch.float64)
    needed = (constants[..., None].cpu() * radii).to(examples.device, dtype)
    counts = torch.zeros(1 + len(eps), dtype=torch.int64, device=examples.device)
    for start in range(0, len(examples), batch):
        inputs, labels = examples.batch(slice(start, start + batch), dtype)
        scores = network(inputs)
        margin = margins(scores, labels)
        right = (margin > 0).all(1) & torch.isfinite(scores).all(1)
        robust = (margin[..., None] > needed[labels]).all(1) & right[:, None]
        counts += torch.cat([right[:, None], robust], 1).sum(0)
    accuracy, *shares = (counts.double() / len(examples)).tolist()
    return Evaluation(accuracy, dict(zip((name for name, _ in eps), shares, strict=True)))
