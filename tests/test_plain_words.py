"""What a user reads is plain English: phrases that read as translated do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from deployments.local_stack import ROOT

PACKAGES = ("finetuning", "tasks", "flows", "deployments", "emulator")
#: Each was found in a text that a user saw.
TRANSLATED = re.compile(
    r"Mend that|\bElse the\b|How many of them|\banew\b|thereof|\breckoned\b|can be had"
    r"|(?<![Tt]here )\b(?:is|are) no (?!longer)"
)


def texts(source: str) -> Iterator[str]:
    """The texts of a module but for its docstrings."""
    tree = ast.parse(source)
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and node not in docstrings else None
        if isinstance(text, str):
            yield text


@pytest.mark.parametrize("package", PACKAGES)
def test_no_text_of_a_package_reads_as_translated(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text!r}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in texts(path.read_text(encoding="utf-8"))
        if TRANSLATED.search(text)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("raise Error(f'Mend that and plan again, {name}')", True),
        ("say('Split x is no list')", True),
        ("say('There is no split x')", False),
        ("say('K80 cards are no longer supported')", False),
        ("'''Mend that.'''", False),
    ],
)
def test_such_a_phrase_would_be_found_in_a_text_and_not_in_a_docstring(
    text: str, found: bool
) -> None:
    assert any(TRANSLATED.search(one) for one in texts(text)) is found
