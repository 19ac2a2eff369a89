"""Spans of time: what overlaps counts once."""

import pytest

from benchmarks.intervals import seconds, union, within, without


def test_time_that_two_spans_share_counts_once():
    assert seconds([(0, 2), (1, 3), (5, 6)]) == 4
    assert union([(5, 6), (0, 2), (1, 3)]) == [(0, 3), (5, 6)]


@pytest.mark.parametrize(
    "others, left",
    [
        ([], [(0, 10)]),
        ([(2, 4)], [(0, 2), (4, 10)]),
        ([(2, 4), (3, 6)], [(0, 2), (6, 10)]),
        ([(-5, 20)], []),
    ],
)
def test_what_is_left_of_a_span_beside_others(others, left):
    assert without([(0, 10)], others) == left


def test_spans_are_cut_to_the_whole():
    assert within([(-1, 2), (8, 12), (20, 30)], (0, 10)) == [(0, 2), (8, 10)]
