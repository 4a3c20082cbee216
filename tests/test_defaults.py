"""What nobody types: blocks of conditions and values, later ones over earlier ones."""

import pytest

from lipexp.config import conf_folder
from lipexp.defaults import defaults

FACTS = {"task": "train", "model": "aol", "network": "mlp", "dataset": "mnist", "residual": False}
SHIPPED = conf_folder() / "defaults.yaml"


def test_a_later_block_wins_and_may_ask_for_what_an_earlier_one_set(tmp_path):
    path = tmp_path / "defaults.yaml"
    path.write_text(
        "- when: {task: train}\n  then: {optimizer: adam, lr: 1}\n"
        "- when: {network: conv}\n  then: {optimizer: sgd}\n"
        "- when: {optimizer: sgd}\n  then: {lr: 2}\n"
    )
    assert defaults(path, {"task": "train", "network": "mlp"}) == {"optimizer": "adam", "lr": 1}
    asked = {"task": "train", "network": "conv"}
    assert defaults(path, {**asked, "optimizer": None}) == {"optimizer": "sgd", "lr": 2}
    # What is typed holds against every block, and is what the conditions see.
    assert defaults(path, {**asked, "optimizer": "adam"})["lr"] == 1
    assert defaults(path, {"task": "train", "network": "mlp", "optimizer": "sgd"})["lr"] == 2


@pytest.mark.parametrize(
    ("facts", "optimizer", "lr"),
    [
        ({}, "adam", 0.003),
        ({"task.optimizer": "sgd"}, "sgd", 0.1),
        ({"network": "lipconvnet"}, "sgd", 0.03),
        ({"network": "lipconvnet", "task.optimizer": "adam"}, "adam", 0.003),
        ({"network": "lipconvnet", "model": "sll", "residual": True}, "adam", 0.1),
    ],
)
def test_the_learning_rate_fits_the_optimiser(facts, optimizer, lr):
    found = defaults(SHIPPED, {**FACTS, **facts})
    assert facts.get("task.optimizer", found["task.optimizer"]) == optimizer
    assert found["task.lr"] == lr
