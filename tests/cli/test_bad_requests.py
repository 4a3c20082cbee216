"""Every wrong request: one line on stderr, exit status 2, nothing left on disk."""

from __future__ import annotations

import os
import re

import pytest

from tests.cli.golden import compare, filtered, run, transcript

REQUESTS = [
    "run model=sl",
    "run init=gdn",
    "run dataset=minst",
    "run task=tarin",
    "run task=train dataset=gaussian",
    "run task=train replicates=2",
    "run task=train task.epochs=0",
    "run task=train task.lr=0",
    "run task=train task.lr=-1e-3",
    "run task=train task.weight_decay=-1",
    "run task=train batch=0",
    "run task=train task.optimizer=adagrad",
    "run task=train task.schedule=onecicle",
    "run task=train task.augment=flip",
    "run task=train task.loss.temperature=0",
    "run task=train task.loss.ofset=1",
    "run task=train task.eps=0",
    "run task=train task.eps=[0.3,-1]",
    "run task=train task.eps=[36/0]",
    "run task=train task.eps=abc",
    "run task=train task.eps=[]",
    "run task=train task.validation=1",
    "run task=train task.validation=1e-9",
    "run task=train task.probe_epochs=[9] task.epochs=3",
    "run task=train task.cotangent=ones",
    "run task.epochs=3",
    "run task=train network=lipconvnet depth=7",
    "run task=train network=lipconvnet width=15",
    "run task=train network=lipconvnet model=spectral",
    "run network=lipconvnet bias=corrected",
    "run network=lipconvnet dataset=gaussian",
    "run task=train model=sll activation=maxmin",
    "run network=mpl",
    "run experiment=corrected_bia",
    "rnu",
    "list init_",
    "run dept=3",
    "run init.beta=2",
    "run model.hidden=3",
    "run init=gnd init.gamma=2",
    "run task.histograms.x=2",
    "run +foo=3",
    "run ~depth",
    "run foo",
    "run aol",
    "run depth=abc",
    "run depth=",
    "run depth=3.5",
    "run depth=true",
    "run depth=[1,2]",
    "run depth=[",
    "run depth=${foo}",
    "run force=1",
    "run seed=-1",
    "run depth=0",
    "run width=-1",
    "run width=1e3",
    "run replicates=0",
    "run batch=0",
    "run batch=5000",
    "run init=gnd init.beta=0",
    "run init=gnd init.beta=nan",
    "run init=gnd init.alpha=-1",
    "run init=gnd init.alpha=inf",
    "run bias=corected",
    "run activation=reluu",
    "run activation=maxmin width=63",
    "run model=sll activation=abs",
    "run model=sll activation=maxmin",
    "run model=sll network.activation=maxmin width=63",
    "run model.rows=maybe",
    "run model=sll model.q=two",
    "run model=sll model=aol",
    "run depth=3 depth=4",
    "run model=null",
    "run model={a:1}",
    "run device=tpu",
    "run device=cuda:99",
    "run dtype=float16",
    "run dataset=mnist dataset.folder=empty",
    "run dataset=digits dataset.features=3",
    "run outputs=file/below",
    "run plugins=[nope]",
    "run plugins=[broken.py]",
    "run task.cotangent=loss dataset=gaussian",
    "run task.histograms=[200]",
    "run --cgf job",
    "run --cfg",
    "run hydra/launcher=slrm",
    "run hydra.foo=1",
    "run -m model=aol,sl",
    "run -m dept=3,4",
    "run -m depth=0,abc",
    "run -m depth=0 seed=0,1",
    "run -m model=sll activation=abs seed=0,1",
    "run seed=1,2",
    "run depth = 10",
    "run depth =10",
    "run --depth=10",
    "run --cfg jobb",
    "run model.name=sll",
    "run init={name:gnd}",
    "run model=aol/../sll",
    "run hydra.run.dir=there",
    "run modèle=aol",
    "run model=AOL",
    "run task.histograms=false",
    "run help",
    "run depth=1000000000",
    "run width=10000000",
    "run batch=100000000 dataset=gaussian width=4096",
    "init=gnd",
    "collect nothing_here",
    "collect --by",
    "run -m hydra.launcher.runs_per_gpu=2",
    "run --config-dir recipes experiment=no_yaml",
    "run --config-dir recipes experiment=no_header",
    "run --config-dir recipes experiment=no_header_and_a_choice",
    "run --config-dir recipes experiment=a_list",
    "run -m --config-dir recipes experiment=no_yaml",
    "run -m --config-dir recipes experiment=no_header seed=0,1",
]

RECIPES = {
    "no_yaml": "# @package _global_\ndepth: [\n",
    "no_header": "# three layers\n# @package _global_\ndepth: 3\nwidth: 16\n",
    "no_header_and_a_choice": "defaults:\n  - override /model: sll\n",
    "a_list": "- depth\n- width\n",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    for name, text in RECIPES.items():
        path = tmp_path / "recipes" / "experiment" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIPEXP_DATA_DIR", raising=False)
    monkeypatch.delenv("LIPEXP_TRACEBACK", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def test_wrong_requests_as_the_golden_file_has_them(capsys, request, here):
    parts = []
    for line in REQUESTS:
        argv = line.split()
        status, out, err = run(capsys, *argv)
        parts.append(filtered(transcript(argv, status, out, err), here))
        left = set(os.listdir(here)) - {"__pycache__"}
        assert left == {"file", "empty", "broken.py", "recipes"}, line
        assert status == 2, line
        last = err.splitlines()
        assert last, line
        assert last[-1].startswith("lipexp: "), line
        assert not last[-1].endswith("."), line
        assert "Traceback" not in err, line
        assert len(last) == 1, line
    text = re.sub(r"this machine has [\d,]+$", "this machine has N", "\n\n".join(parts), flags=re.M)
    compare("bad_requests.txt", text, request)


def test_the_trace_behind_a_line_is_shown_on_demand(here, monkeypatch):
    from lipexp.cli import guarded
    from lipexp.errors import UserError

    monkeypatch.setenv("LIPEXP_TRACEBACK", "1")
    with pytest.raises(UserError):
        guarded(["run", "depth=0"])
