"""`lipexp collect` as it is typed: report.html beside the tables, and what it is drawn against."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from lipexp.cli.collect import main
from lipexp.errors import UserError
from tests.runs.many_runs import make_sweep
from tests.runs.run_fakes import METRIC, make_run, make_training

VOID = {"meta", "input", "link", "br", "wbr"}


class Page(HTMLParser):
    """Tags with their attributes, the texts of scripts and styles, and whether tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self):
        return json.loads(self.texts["script"][0])


def collected(*argv):
    assert main(["runs", "--out", "o", *argv]) == 0
    with open("o/report.html", encoding="utf-8") as file:
        return Page(file.read())


def column(data, key):
    """The values of a column of the table, by the runs' names."""
    columns = {one["key"]: one for one in data["columns"]}

    def values(key):
        one = columns[key]
        if one["number"]:
            return one["values"]
        return [None if at is None else one["words"][at] for at in one["values"]]

    return dict(zip(values("name"), values(key), strict=True))


def test_the_report_is_whole_and_says_in_its_title_how_many_runs_there_are(here, capsys):
    make_sweep("runs", 24, depth=9)
    page = collected()
    assert page.open == []
    assert page.texts["title"] == ["lipexp: 24 runs"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "files in o: runs.csv, layers.csv, decay.png, report.html"
    )


def test_the_report_asks_for_nothing_from_elsewhere(here):
    make_sweep("runs", 3, depth=9)
    page = collected()
    text = (here / "o" / "report.html").read_text("utf-8")
    addresses = {*re.findall(r"\w+://[^\s\"']*", text)}
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace
    asking = [
        a for _, attributes in page.tags for a in attributes if a in ("src", "href", "action")
    ]
    assert asking == []
    assert not re.search(r"\b(fetch|XMLHttpRequest|import)\s*\(|@import|url\(", text)


def test_only_the_page_s_own_script_and_style_are_allowed_to_run(here):
    make_sweep("runs", 2, depth=9)
    page = collected()
    (policy,) = [a["content"] for a in page.of("meta") if "http-equiv" in a]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    for tag, text in (("style", page.texts["style"][0]), ("script", page.texts["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not any(a.startswith("on") or a == "style" for _, names in page.tags for a in names)
    script = page.texts["script"][1]
    writes = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    )
    assert [word for word in writes if word in script] == []


HOSTILE = [
    "<script>alert(1)<script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "a\"b'c&amp;<",
    "\u2028{{data}}{{title}}",
    "{{policy}}\\u003c",
]


def test_no_name_or_text_of_a_run_becomes_markup(here):
    for number, name in enumerate(HOSTILE):
        summary = {METRIC: -1.0 - number, "law": "</script><script>alert(2)</script>"}
        make_run(here / "runs", name, summary=summary, depth=2 + number)
    config = here / "runs" / "probe" / HOSTILE[0] / "config.yaml"
    body = config.read_text().partition("\n")[2]
    config.write_text("# lipexp run '</script><script>alert(3)</script>'\n" + body)
    page = collected()
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not {"img", "b"} & {tag for tag, _ in page.tags}
    data = page.data
    assert sorted(column(data, METRIC)) == sorted(HOSTILE)
    assert data["same"]["law"] == "</script><script>alert(2)</script>"
    assert "'</script><script>alert(3)</script>'" in data["words"]
    raw = (here / "o" / "report.html").read_text("utf-8")
    assert "alert(1)<script" not in raw
    assert raw.count("</script>") == 2


def test_every_run_has_its_numbers_its_command_and_its_curves(here):
    make_sweep("runs", 8, depth=9)
    make_run(here / "runs", "early", layers=False)
    page = collected()
    data = page.data
    runs = pd.read_csv("o/runs.csv").set_index("name")
    assert data["count"] == len(runs) == 9
    for name, shown in column(data, METRIC).items():
        assert shown == runs.loc[name, METRIC] if name != "early" else shown is None
    for name, numbers, curves in zip(
        column(data, "name"), data["commands"], data["curves"], strict=True
    ):
        command = " ".join(data["words"][number] for number in numbers)
        assert command == runs.loc[name, "command"]
        assert (curves is None) == (name == "early")


def test_the_curves_are_those_of_layers_csv_with_the_laws(here):
    make_sweep("runs", 2, depth=9)
    data = collected().data
    layers = pd.read_csv("o/layers.csv")
    quantities = {
        ("forward", "solid"): "log10_second_moment",
        ("forward", "thin"): "log10_variance",
        ("forward", "dashed"): "predicted_log10_second_moment",
        ("forward", "dotted"): "predicted_typical_log10_second_moment",
        ("backward", "solid"): "log10_gradient_second_moment",
        ("backward", "dashed"): "predicted_log10_gradient_second_moment",
        ("backward", "dotted"): "predicted_typical_log10_gradient_second_moment",
    }
    for name, curves in zip(column(data, "name"), data["curves"], strict=True):
        table = layers[layers["run"] == name]
        assert curves["layers"] == curves["of"] == len(table)
        drawn = {}
        for kind, epoch, values in curves["lines"]:
            panel, _, look = data["kinds"][kind]
            drawn[panel, look] = values
            assert epoch == 0
        assert set(drawn) == set(quantities)
        for key, column_name in quantities.items():
            assert drawn[key] == pytest.approx(table[column_name].to_numpy(), abs=2e-3)


def test_runs_under_way_failed_and_broken_are_listed_with_what_they_have(here):
    make_run(here / "runs", "done", summary={METRIC: -1.0})
    make_run(here / "runs", "under_way")
    make_training(here / "runs", "training", epochs=2)
    broken = make_run(here / "runs", "broken", summary={METRIC: -1.0})
    for file in ("summary.json", "layers.csv"):
        (broken / file).write_bytes((broken / file).read_bytes()[:-9])
    cut = make_run(here / "runs", "cut")
    (cut / "config.yaml").write_text("depth: 2\nwid")
    data = collected().data
    assert column(data, "status") == {
        **{"done": "done", "under_way": "unfinished", "training": "unfinished"},
        **{"broken": "unreadable", "cut": "unreadable"},
    }
    assert column(data, "epochs_done")["training"] == 2
    curves = dict(zip(column(data, "name"), data["curves"], strict=True))
    assert curves["under_way"]["lines"]
    assert curves["broken"] is curves["cut"] is None
    assert data["plots"] == []


def test_two_runs_of_the_same_name_keep_their_own_layers(here):
    for machine, depth in (("a", 2), ("b", 3)):
        make_run(here / "runs" / machine, "twin", summary={METRIC: -1.0}, depth=depth)
    make_run(here / "runs" / "a", "other", summary={METRIC: -1.0})
    data = collected().data
    assert [curves["of"] for curves in data["curves"]] == [3, 3, 4]
    layers = pd.read_csv("o/layers.csv")
    assert layers["run"].unique().tolist() == ["other", "runs/a/probe/twin", "runs/b/probe/twin"]


def test_the_same_runs_give_the_same_bytes(here):
    make_sweep("runs", 8, depth=9)
    collected("--by", "model,init", "--metric", METRIC)
    first = {path.name: path.read_bytes() for path in (here / "o").iterdir()}
    collected("--by", "model,init", "--metric", METRIC)
    assert {path.name: path.read_bytes() for path in (here / "o").iterdir()} == first


@pytest.mark.parametrize("by", ["model,depth", "model"])  # the axis groups, named or not
def test_what_is_asked_for_is_the_first_plot_with_the_numbers_of_its_table(here, by):
    make_sweep("runs", 48, depth=9)
    data = collected("--by", by, "--metric", METRIC, "--against", "depth").data
    first = data["plots"][0]
    assert (first["metric"], first["against"], first["by"]) == (METRIC, "depth", ["model"])
    table = pd.read_csv(f"o/{METRIC}_by_model_depth.csv")
    points = [point for group in first["groups"] for point in group["points"]]
    assert [point[0] for point in points] == table["depth"].tolist()
    for place, name in ((1, "mean"), (2, "standard_deviation"), (3, "n")):
        found = [np.nan if point[place] is None else point[place] for point in points]
        assert found == pytest.approx(table[name].to_numpy(), rel=1e-5, nan_ok=True)


def test_a_metric_is_drawn_against_all_that_varies_of_depth_width_and_init(here):
    make_sweep("runs", 48, depth=9)
    plots = collected().data["plots"]
    assert [plot["against"] for plot in plots if plot["metric"] == METRIC] == ["depth", "init"]
    (by_init,) = [p for p in plots if (p["metric"], p["against"]) == (METRIC, "init")]
    assert by_init["ticks"] == ["gnd", "normal", "orthogonal"]
    assert by_init["by"] == ["model", "depth"]
    assert {point[3] for group in by_init["groups"] for point in group["points"]} == {2}
    assert not any(plot["metric"].startswith(("predicted_", "seconds")) for plot in plots)


def test_asking_for_init_alone_groups_by_what_varies(here):
    make_sweep("runs", 24, depth=9)
    data = collected("--against", "init").data
    assert (here / "o" / f"{METRIC}_by_model_depth_init.png").is_file()
    assert data["plots"][0]["against"] == "init"
    assert data["plots"][0]["by"] == ["model", "depth"]


def test_a_wrong_axis_is_one_line_and_writes_nothing(here):
    make_sweep("runs", 2, depth=9)
    with pytest.raises(UserError, match="invalid choice: 'seed'"):
        main(["runs", "--out", "o", "--against", "seed"])
    assert not (here / "o").exists()


def test_trainings_and_probes_stand_in_one_report(here):
    for seed in (0, 1):
        make_training(
            here / "runs", f"t{seed}", accuracy=0.9 + seed / 50, cra={"0.3": 0.8}, seed=seed
        )
    make_sweep("runs", 4, depth=9)
    data = collected().data
    drawn = {plot["metric"] for plot in data["plots"]}
    assert {METRIC, "test_accuracy"} <= drawn
    shown = {one["key"] for one in data["columns"] if one["shown"]}
    assert {"name", "status", "task", METRIC, "test_accuracy", "cra_0.3"} <= shown


@pytest.mark.parametrize(("count", "depth", "most"), [(240, 100, 5e6), (20, 10_000, 1e6)])
def test_the_report_is_small_enough_to_send(here, count, depth, most):
    make_sweep("runs", count, depth=depth)
    data = collected().data
    size = (here / "o" / "report.html").stat().st_size
    assert size <= most
    drawn = max(data["curves"], key=lambda curves: curves["of"])
    whole = drawn["of"] == depth + 1
    assert whole
    if depth == 100:
        assert drawn["layers"] == 101
    else:
        assert 300 < len(drawn["layers"]) <= 404
        assert (drawn["layers"][:2], drawn["layers"][-2:]) == ([0, 1], [9999, 10000])
