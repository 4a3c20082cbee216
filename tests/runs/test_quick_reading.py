"""Reading many files at once gives what reading them one by one gives."""

import time
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lipexp.runs.collect import layer_files, yaml_blocks
from lipexp.runs.collect.tables import collect
from tests.runs.many_runs import TABLE, make_sweep, probed_text
from tests.runs.run_fakes import METRIC, configuration, layers_text, make_run

PLACE = layer_files.PLACE
GOOD = layers_text().encode()


def alone(content):
    return pd.read_csv(BytesIO(content), dtype=layer_files._KINDS)


def parsed(files):
    return layer_files.together(dict(enumerate(files)))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
keys = st.text(max_size=4) | st.sampled_from(["depth", "task", "model"])


@given(st.dictionaries(keys, values, max_size=5), st.booleans())
def test_a_configuration_is_what_yaml_says(config, flow):
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=flow, allow_unicode=True)
    assert yaml_blocks.load(b"# lipexp run\n" + text.encode()) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "a: 1\na: 2\n",
        "a: &x [1]\nb: *x\n",
        "a: &x {b: 1}\nc:\n  <<: *x\n<<: *x\n",
        "a: 1\rb: 2\n",
        "a: {b: 1,\n  c: 2}\nd: |\n  # no comment\n\n  text\n",
        "a:\n- 1\n- 2\nb: 3\n",
        "? a\n: 1\n",
        "a:\n? b\n: c\n",
        "--- \na: 1\n",
        "- 1\n- 2\n",
        "one word\n",
        "a: 1\n...\n",
        "a: 1\r\nb: 2\r\n",
        '"a": 1\nb: "c\n  d"\n',
        "  a: 1\n  b: 2\n",
        "a: 2026-11-21\nb: 1e3\nc: .inf\n",
    ],
)
def test_an_unusual_text_is_read_as_yaml_reads_it(text):
    assert yaml_blocks.load(text.encode()) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    ["a: [1\nb: 2\n", "a: &x 1\nb: &x 2\n", "a: 1\n--- \nb: 2\n", "  a: 1\nb: 2\n", "a: 1\nb\n"],
)
def test_what_is_no_yaml_is_an_error(text):
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    with pytest.raises(yaml.YAMLError):
        yaml_blocks.load(text.encode())


def test_a_configuration_that_changes_on_disk_is_read_anew(tmp_path):
    folder = make_run(tmp_path, "a", seed=1)
    assert collect(tmp_path)[0]["seed"].item() == 1
    config = yaml.safe_dump(configuration(seed=2), sort_keys=False)
    (folder / "config.yaml").write_text(config)
    assert collect(tmp_path)[0]["seed"].item() == 2


def test_tables_of_different_heads_are_read_to_the_bit_and_stay_in_order():
    texts = [probed_text(depth, 64, -1.2, seed=depth) for depth in (3, 1, 2)]
    texts.insert(1, layers_text(2))
    table, broken = parsed([text.encode() for text in texts])
    assert broken == set()
    assert set(table) == {*TABLE, PLACE}
    for number, text in enumerate(texts):
        one = table[table[PLACE] == number].drop(columns=PLACE).reset_index(drop=True)
        expected = alone(text.encode())
        pd.testing.assert_frame_equal(one[expected.columns], expected, check_exact=True)
        assert one.drop(columns=expected.columns).isna().all(axis=None)
    assert table[PLACE].is_monotonic_increasing


BROKEN = [
    b"",
    b"a,b\n",
    GOOD.rstrip(b"\n"),
    GOOD + b"0,0,1,x,2,3,4,5,6\n",
    GOOD.replace(b"0,0,1", b"0,0,one"),
    GOOD.replace(b"0,0,1", b"0,0,"),
    GOOD.replace(b"body", b"\xff\xfe"),
    b"epoch,replicate,layer\n0,0,1,2,3\n",
]


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_broken_table_takes_no_other_with_it(content, place):
    files = [GOOD] * 4
    files.insert(place, content)
    table, broken = parsed(files)
    assert broken == {place}
    whole = [number for number in range(5) if number != place]
    assert table[PLACE].tolist() == [number for number in whole for _ in range(3)]
    assert len(alone(GOOD)) == 3


def test_a_quote_or_another_end_of_line_does_not_swallow_the_next_table():
    quoted = GOOD.replace(b"body.layer2", b'"body.layer2')
    carried = GOOD.replace(b"\n", b"\r\n")
    named = GOOD.replace(b"body.layer2", b'"body,2"')
    table, broken = parsed([GOOD, quoted, GOOD, carried, named, GOOD])
    assert broken == {1}
    assert table[PLACE].value_counts().to_dict() == dict.fromkeys((0, 2, 3, 4, 5), 3)
    assert table.loc[table[PLACE] == 4, "name"].tolist()[-1] == "body,2"


def test_a_row_more_in_one_table_and_one_less_in_another_do_not_make_up_for_each_other():
    fewer = GOOD.replace(b"body.layer1", b'"body\nlayer1"')
    more = GOOD.replace(b"0,0,2,", b"0,0,2,x,64,64,-3.0,-inf\r0,0,3,")
    table, broken = parsed([fewer, GOOD, more])
    assert broken == set()
    assert table[PLACE].tolist() == [0] * 3 + [1] * 3 + [2] * 4


def test_blank_lines_are_no_rows_of_the_next_table():
    table, broken = parsed([GOOD, GOOD.replace(b"\n", b"\n\n"), GOOD])
    assert broken == set()
    assert table[PLACE].tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_no_files_are_an_empty_table():
    table, broken = parsed([])
    assert (len(table), broken) == (0, set())


def test_a_run_says_where_it_is_and_the_command_that_repeats_it(tmp_path):
    make_sweep(tmp_path, 1, depth=3)
    (make_run(tmp_path, "zz", summary={METRIC: -1.0}) / "config.yaml").write_text(
        yaml.safe_dump(configuration())
    )
    runs, _ = collect(tmp_path)
    assert runs["folder"].tolist() == [str(tmp_path / "probe" / name) for name in runs["name"]]
    assert runs["command"].tolist()[0].startswith("lipexp run depth=2 width=64 bias=zero")
    assert runs["command"].isna().tolist() == [False, True]


def test_many_runs_are_read_in_less_than_five_milliseconds_each(tmp_path):
    make_sweep(tmp_path, 400)
    start = time.process_time()
    runs, layers = collect(tmp_path)
    spent = time.process_time() - start
    assert (runs["status"] == "done").all()
    assert len(layers) == (runs["depth"] + 1).sum()
    assert np.isfinite(runs[METRIC]).all()
    assert spent / len(runs) < 0.005
