"""How often the gate is wrong: false promotions at no effect, and its power at stated effects.

Two models' scores on one suite are drawn from a stated distribution; the gate's own interval and
rule decide (``finetuning/evaluation``). Nothing is trained and nothing is asked. With ``--write``
the table goes into docs/evaluation.md and the picture beside it. Also ``make bench-gate``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetuning.evaluation.gate import LEAST_ROWS, rule
from finetuning.evaluation.intervals import compare
from finetuning.form.evaluation import OwnSuite

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "evaluation.md"
PICTURE = ROOT / "docs" / "images" / "gate-power.png"
MARKED = re.compile(r"(<!-- bench: gate -->\n).*?(<!-- end -->)", re.DOTALL)
SIZES = (LEAST_ROWS, 50, 100, 200, 500)
EFFECTS = (-0.05, 0.0, 0.02, 0.05, 0.10)
#: Most false promotions at no effect, as a share.
AT_MOST = 0.05

#: Draws the paired scores of so many rows, with this mean difference.
Draw = Callable[[Any, int, float], tuple[Any, Any]]


def graded(rng: Any, rows: int, effect: float) -> tuple[Any, Any]:
    """Return scores like rouge_l's: rows are hard or easy for both, each answer strays by 0.1."""
    hard = rng.beta(2, 5, rows)
    ours = hard + effect + rng.normal(0, 0.1, rows)
    theirs = hard + rng.normal(0, 0.1, rows)
    return ours, theirs


def passed(rng: Any, rows: int, effect: float) -> tuple[Any, Any]:
    """Return scores like a check's, 0 or 1: half are passed, and one row in five by one only."""
    differ = rng.random(rows) < 0.2
    ours_wins = rng.random(rows) < 0.5 + effect / 0.4
    same = (rng.random(rows) < 0.5).astype(float)
    ours = np.where(differ, ours_wins, same).astype(float)
    return ours, np.where(differ, ~ours_wins, same).astype(float)


SCORES: dict[str, Draw] = {"graded (rouge_l, chrf)": graded, "passed or not (check, exact)": passed}


@dataclass(frozen=True)
class Cell:
    """Of all trials with these scores, rows and effect: the shares of each decision."""

    scores: str
    rows: int
    effect: float
    promoted: float
    refused: float


def simulate(trials: int, seed: int = 1) -> list[Cell]:
    """Return a cell for each kind of scores, suite size and effect."""
    return [
        _cell(scores, draw, rows, effect, trials, seed)
        for scores, draw in SCORES.items()
        for rows in SIZES
        for effect in EFFECTS
    ]


def _cell(scores: str, draw: Draw, rows: int, effect: float, trials: int, seed: int) -> Cell:
    rng, rules = np.random.default_rng(seed), OwnSuite()
    decisions = [
        rule(rules, compare(*draw(rng, rows, effect), confidence=0.95)).decision
        for _ in range(trials)
    ]
    promoted, refused = (decisions.count(one) / trials for one in ("promote", "refuse"))
    return Cell(scores, rows, effect, promoted, refused)


def false_promotions(cells: Iterable[Cell]) -> float:
    """Return the largest share of promotions among the cells without an effect."""
    return max(one.promoted for one in cells if one.effect == 0)


def table(cells: list[Cell]) -> str:
    """Return the shares of promotions, and of refusals where the model is worse, as markdown."""
    effects = [f"{effect:+.2f}" for effect in EFFECTS if effect > 0]
    head = ["scores", "rows", "promoted at no effect", *(f"promoted at {one}" for one in effects),
            f"refused at {EFFECTS[0]:+.2f}"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for scores in SCORES:
        for rows in SIZES:
            row = {one.effect: one for one in cells if (one.scores, one.rows) == (scores, rows)}
            shares = [row[effect].promoted for effect in EFFECTS if effect >= 0]
            shown = [f"{share:.1%}" for share in [*shares, row[EFFECTS[0]].refused]]
            lines.append([scores, str(rows), *shown])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw_picture(cells: list[Cell], place: Path) -> None:
    """Draw promotions by suite size, a line for each effect, a field for each kind of scores."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    fields = figure.subplots(1, len(SCORES), sharey=True)
    for field, scores in zip(fields, SCORES, strict=True):
        for effect in [one for one in EFFECTS if one >= 0]:
            line = [one for one in cells if (one.scores, one.effect) == (scores, effect)]
            label = f"{effect:+.2f}" if effect else "no effect"
            field.plot([one.rows for one in line], [one.promoted for one in line], "o-",
                       label=label)  # fmt: skip
        field.axhline(AT_MOST, color="grey", linestyle=":")
        field.set(title=scores, xlabel="rows of the suite", xscale="log", xticks=SIZES)
        field.set_xticklabels([str(size) for size in SIZES])
        field.minorticks_off()
        field.grid(alpha=0.3)
    fields[0].set_ylabel("share promoted")
    fields[0].legend(title="true improvement")
    figure.savefig(place, dpi=110)


def main(argv: list[str]) -> int:
    """Simulate, print the table, and return 1 where there are too many false promotions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="of each cell (default 1000)")
    parser.add_argument("--write", action="store_true", help="table and picture into docs/")
    given = parser.parse_args(argv)
    cells = simulate(given.trials)
    worst = false_promotions(cells)
    found = (
        f"{given.trials} trials a cell. False promotions at no effect: at most {worst:.1%} "
        f"(target: {AT_MOST:.0%}).\n\n{table(cells)}\n"
    )
    print(found)
    if given.write:
        text = MARKED.sub(rf"\g<1>{found}\g<2>", PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(text, encoding="utf-8")
        draw_picture(cells, PICTURE)
    return 0 if worst <= AT_MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
