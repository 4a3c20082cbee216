"""Data sets: what can be chosen, with facts that are known before anything is read.

Listing imports no numpy; reading imports numpy alone.

A set's facts: ``shape`` of one input (None: chosen by ``dataset.features``), ``classes``, ``mean``
(the centring constant of each channel, subtracted inside the network from pixels in [0, 1]; empty
where nothing is to be centred), ``scale`` (what a stored pixel is divided by), ``image``,
``files`` (below the data folder, each as it is or with ``.gz``), ``origin`` of a set that has no
files there, ``generated`` (inputs are drawn from a distribution: no classes, no training).

A plugin registers, with these facts, a function ``(folder: Path, verify: bool) -> Dataset``, or of
a generated set ``(features: int | None) -> Dataset``.
"""

from __future__ import annotations

from lipexp.lazy import lazy
from lipexp.registry import Entry, Registry

# means of the training images, pixels in [0, 1]
DIGITS_MEAN = (0.3050,)
MNIST_MEAN = (0.1307,)
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)

MNIST_FILES = tuple(
    f"MNIST/raw/{part}-{what}"
    for part in ("train", "t10k")
    for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
)
CIFAR10_FILES = tuple(
    f"cifar-10-batches-py/{batch}"
    for batch in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
)
COVERTYPE_FILES = ("covertype/samples_py3", "covertype/targets_py3")

DATASETS = Registry(
    "data set",
    {
        "digits": Entry(
            "lipexp.data.digits:load",
            "1,797 handwritten digits of 8x8 pixels, embedded in scikit-learn",
            {
                "shape": (1, 8, 8),
                "classes": 10,
                "mean": DIGITS_MEAN,
                "scale": 16.0,
                "image": True,
                "origin": "embedded in scikit-learn",
            },
        ),
        "mnist": Entry(
            "lipexp.data.mnist:load",
            "70,000 handwritten digits of 28x28 pixels",
            {
                "shape": (1, 28, 28),
                "classes": 10,
                "mean": MNIST_MEAN,
                "scale": 255.0,
                "image": True,
                "files": MNIST_FILES,
            },
        ),
        "cifar10": Entry(
            "lipexp.data.cifar10:load",
            "60,000 colour photographs of 32x32 pixels, ten kinds of animal and vehicle",
            {
                "shape": (3, 32, 32),
                "classes": 10,
                "mean": CIFAR10_MEAN,
                "scale": 255.0,
                "image": True,
                "files": CIFAR10_FILES,
            },
        ),
        "covertype": Entry(
            "lipexp.data.covertype:load",
            "581,012 patches of forest, 54 map features (standardised), seven kinds of cover",
            {
                "shape": (54,),
                "classes": 7,
                "mean": (),
                "scale": 1.0,
                "image": False,
                "files": COVERTYPE_FILES,
            },
        ),
        "gaussian": Entry(
            "lipexp.data.gaussian:load",
            "N(0, 1) inputs with dataset.features features; no classes, for probes alone",
            {
                "shape": None,
                "classes": 0,
                "mean": (),
                "scale": 1.0,
                "image": False,
                "origin": "drawn from N(0, 1)",
                "generated": True,
            },
        ),
    },
)


def input_word(dataset: str) -> str:
    """What one of its inputs is called: an image, or a row of a table."""
    shape = DATASETS.fact(dataset, "shape")
    return "image" if shape is not None and len(shape) == 3 else "row"


_HOMES = {
    "Dataset": "lipexp.data.dataset",
    "Split": "lipexp.data.dataset",
    "draw_inputs": "lipexp.data.dataset",
    "gaussian_inputs": "lipexp.data.gaussian",
    "Status": "lipexp.data.loading",
    "data_folder": "lipexp.data.loading",
    "load": "lipexp.data.loading",
    "on_disk": "lipexp.data.loading",
    "status": "lipexp.data.loading",
}

__getattr__, __dir__ = lazy(__name__, _HOMES, ("DATASETS", "input_word"))
