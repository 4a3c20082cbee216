"""Registries: names, nearest names, and nothing imported before it is used."""

from __future__ import annotations

import pytest

from lipexp.activations import ACTIVATIONS
from lipexp.config import KEYS, choice_keys, choices
from lipexp.data import DATASETS
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.networks import NETWORKS
from lipexp.registry import Entry, Registry, hint, nearest

GROUPS = {"model": LAYERS, "network": NETWORKS, "init": INITS, "dataset": DATASETS}


def test_an_unknown_name_names_the_nearest():
    registry = Registry("thing", {name: Entry("math:pi", "") for name in ("sll", "aol", "linear")})
    with pytest.raises(UserError, match="unknown thing 'sl'; nearest: sll"):
        registry["sl"]
    assert "sl" not in registry
    assert registry["sll"] == pytest.approx(3.14159, abs=1e-5)


def test_a_hint_is_what_is_near_or_everything_there_is():
    assert nearest("dept", ["depth", "width"]) == ["depth"]
    assert hint("dept", ["depth", "width"]) == "nearest: depth"
    assert nearest("zzz", ["b", "a"]) == []
    assert hint("zzz", ["b", "a"]) == "known: a, b"
    assert hint("zzz", ["c", "b", "a"], most=2) == "known: a, b, ..."
    assert hint("zzz", []) == ""


def test_a_plugins_entry_is_added_once():
    registry = Registry("thing", {})

    @registry.register("mine", "a thing", size=3)
    class Mine:
        pass

    assert registry["mine"] is Mine
    assert registry.fact("mine", "size") == 3
    assert not registry.is_builtin("mine")
    with pytest.raises(ValueError, match="registered already"):
        registry.register("mine", "again")(Mine)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_choice_has_its_yaml_and_every_yaml_its_entry(group):
    assert set(choices(group)) == set(GROUPS[group])
    for name in choices(group):
        keys = choice_keys(group, name)
        assert "name" in keys
        for key in keys - {"name"}:
            assert f"{group}.{key}" in KEYS, f"{group}.{key} has no check"


@pytest.mark.parametrize("registry", [*GROUPS.values(), ACTIVATIONS], ids=lambda r: r.kind)
def test_every_entry_can_be_loaded_and_described(registry):
    for name in registry:
        assert callable(registry[name])
        assert registry.entry(name).description


def test_every_recipe_has_its_package_line_its_command_and_composes():
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from lipexp.cli.composing import find_launchers
    from lipexp.config import conf_folder, read

    find_launchers()
    names = choices("experiment")
    assert names
    for name in names:
        lines = (conf_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()
        assert lines[0] == "# @package _global_"
        flag = "-m " if "sweeper:" in "\n".join(lines) else ""
        assert lines[1].startswith(f"# lipexp run {flag}experiment={name}")
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = compose("config", [f"experiment={name}"])
        read(OmegaConf.to_container(composed, resolve=True))
