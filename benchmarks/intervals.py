"""Spans of time, as pairs of unix seconds: their union, what is left of one beside others."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[float, float]


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the same time without overlaps, in order."""
    merged: list[Span] = []
    for begin, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def seconds(spans: Iterable[Span]) -> float:
    """Return how long the spans last together; time that two share counts once."""
    return sum(end - begin for begin, end in union(spans))


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return the time of ``spans`` that is in none of ``others``."""
    left = union(spans)
    for begin, end in union(others):
        parts = [part for first, last in left
                 for part in ((first, min(last, begin)), (max(first, end), last))]  # fmt: skip
        left = [part for part in parts if part[1] > part[0]]
    return left


def within(spans: Iterable[Span], whole: Span) -> list[Span]:
    """Return the part of the spans that lies in ``whole``."""
    return union((max(first, whole[0]), min(last, whole[1])) for first, last in spans)
