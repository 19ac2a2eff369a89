"""The report's tables: printed, or put into ``docs/performance.md`` between their marks.

``python -m benchmarks.tables [--write]``. A table stands between ``<!-- bench: GROUP -->`` and
``<!-- end -->``; under it stands on what machine, at what load, with what versions it was measured.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from benchmarks.figures import QUIET, REPORT, ROOT, Figure, table

PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def shown(part: dict[str, Any]) -> str:
    """Return one group's table with what it was measured on."""
    figures = [
        Figure(**{name: value for name, value in one.items() if name != "holds"})
        for one in part["figures"]
    ]
    busy = "" if part["quiet"] else f" Begun at a load above {QUIET}: worth little."
    about = f"{part['machine']} ({part['load_before']} when it began); {part['versions']}.{busy}"
    return f"{table(figures)}\n\n{about}\n"


def filled(page: str, groups: dict[str, Any]) -> str:
    """Return the page with every group's table that the report has; others stay as they are."""

    def put(match: re.Match[str]) -> str:
        name = match[2]
        return f"{match[1]}\n{shown(groups[name])}\n{match[3]}" if name in groups else match[0]

    return MARKED.sub(put, page)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    groups = json.loads(REPORT.read_text(encoding="utf-8")).get("groups", {})
    if parser.parse_args().write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(filled(page, groups), encoding="utf-8")
    else:
        for name, part in groups.items():
            print(f"## {name}\n\n{shown(part)}")


if __name__ == "__main__":
    main()
