"""What the collector passes by between runs, and that it does not stay so."""

from __future__ import annotations

import gc

import pytest

from lipexp.collector import passing_by_what_is_loaded


def test_from_the_second_item_on_what_was_there_is_passed_by():
    before = gc.get_freeze_count()
    counts = [gc.get_freeze_count() for _ in passing_by_what_is_loaded("abc")]
    assert counts[0] == before
    assert counts[1] > before
    assert counts[2] >= counts[1]
    assert gc.get_freeze_count() == 0


def test_the_collector_is_as_before_where_an_item_breaks():
    items = passing_by_what_is_loaded("abc")
    assert next(items) == "a"
    assert next(items) == "b"
    with pytest.raises(ZeroDivisionError):
        items.throw(ZeroDivisionError())
    assert gc.get_freeze_count() == 0
