"""The one report of a run: verdict first, also of a run that failed or was cancelled half-way.

It is made of what the run's steps brought back, and asks nobody anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Literal

from pydantic import Field

from finetuning.evaluation.report import answered, figures
from finetuning.form.promotion import Promoted
from finetuning.form.results import Answer, Served, SubmittedJob, Trained
from finetuning.form.verdict import RowScore, Verdict
from finetuning.planning.facts import Fact
from finetuning.planning.plan import Plan
from finetuning.planning.prices import total
from finetuning.planning.report import table
from finetuning.planning.spending import TRAINING, Actual

#: How a run may have ended.
Outcome = Literal["completed", "failed", "cancelled"]
#: Under which key of the flow run a report is kept at Prefect's server, as JSON.
REPORT_INPUT = "fine-tune-report"
#: Characters of a text that are shown, and answers of each kind.
SHOWN, ANSWERS = 300, 2


class RunReport(Fact):
    """What is known of a run at its end; None is what it did not come to."""

    flow_run_id: str
    name: str
    outcome: Outcome
    error: str | None = Field(None, description="What ended it, in its own words.")
    error_class: str | None = None
    began: datetime
    ended: datetime
    plan: Plan | None = None
    job: SubmittedJob | None = None
    trained: Trained | None = None
    served: Served | None = None
    verdict: Verdict | None = None
    promotion: Promoted | None = None
    spent: Actual | None = None
    steps: dict[str, float] = Field(default_factory=dict, description="Seconds, by step.")
    left: list[str] = Field(default_factory=list, description="What could not be removed, and why.")

    @property
    def headline(self) -> str:
        """Return the outcome in one line."""
        if self.outcome == "cancelled":
            return "Cancelled"
        if self.outcome == "failed":
            return f"Failed: {(self.error or 'without a word').splitlines()[0]}"
        if self.verdict is not None:
            return f"{self.verdict.decision.capitalize()}: {self.verdict.why}"
        return "Completed: trained, served and asked; nobody judged it"


def as_markdown(report: RunReport) -> str:
    """Return the report for a person."""
    return "\n\n".join(part for part in _parts(report) if part)


def _parts(report: RunReport) -> Iterator[str]:
    yield f"# {plain(report.headline)}"
    yield f"{plain(report.name)} · flow run `{report.flow_run_id}`"
    if report.error and report.outcome == "failed":
        yield "\n".join(f"> {plain(line)}  " for line in report.error.splitlines())
    if report.left:
        yield "## May still run and bill\n\n" + "\n".join(f"- {plain(one)}" for one in report.left)
    yield "## Model and data"
    yield table(["what", "which"], _identities(report)) if report.plan else "Nothing was planned."
    if report.trained is not None:
        yield "## Training"
        yield table(["metric", "first", "last"], _curves(report.trained))
    if report.verdict is not None:
        yield "## Evaluation"
        yield figures(report.verdict)
        yield answered(report.verdict)
    if report.promotion is not None:
        yield "## Promotion"
        yield table(["what", "which"], _promotion(report.promotion))
    yield from _answers(report)
    yield "## Cost"
    yield _cost(report)
    yield "## Times"
    seconds = [[name, f"{taken:.1f}"] for name, taken in report.steps.items()]
    yield table(["step", "seconds"], [*seconds, ["in all", f"{_seconds(report):.1f}"]])
    yield "## Created, and left"
    yield table(["what", "which", "now"], list(_created(report))) or "Nothing."
    yield "## What to do next"
    yield "\n".join(f"- {one}" for one in next_steps(report))


def _promotion(found: Promoted) -> list[list[str]]:
    rows = [
        ["outcome", found.outcome],
        ["why", plain(found.why)],
        ["endpoint", f"`{found.endpoint}`"],
        ["has the traffic", found.serving],
        ["kept for a rollback", found.previous],
    ]
    return [row for row in rows if row[1]]


def _identities(report: RunReport) -> list[list[str]]:
    plan, trained = report.plan, report.trained
    assert plan is not None
    rows = [["base model", f"`{plan.job.model.id}`"], ["data", _data_link(plan)]]
    if trained is not None:
        data = trained.data
        rows.append(["data's content", f"`{data.version}`"])
        rows += [
            [split, f"{file.rows} rows, sha256 `{file.sha256[:16]}`"]
            for split, file in data.files.items()
        ]
        rows.append(["new model", f"`{trained.registered.id}`"])
    job = trained.job if trained else report.job
    if job is not None:
        rows.append(["job", f"[{job.name}]({job.studio_url})" if job.studio_url else job.name])
    return rows


def _data_link(plan: Plan) -> str:
    data = plan.data
    if data.files:
        return ", ".join(f"{split}: `{path}`" for split, path in data.files.items())
    commit = data.revision
    return (
        f"[{data.dataset}](https://huggingface.co/datasets/{data.dataset}/tree/{commit}) "
        f"at `{commit}`"
    )


def _curves(trained: Trained) -> list[list[str]]:
    """Return the first and the last value of each curve that tells of learning."""
    titles = {"loss": "training loss", "eval_loss": "evaluation loss"}
    return [
        [title, f"{points[0][1]:.3f}", f"{points[-1][1]:.3f}"]
        for name, title in titles.items()
        if (points := trained.metrics.curves.get(name))
    ]


def _answers(report: RunReport) -> Iterator[str]:
    """Yield the worst and the best rows of each suite, else what the test questions brought."""
    if report.verdict is not None:
        for suite in report.verdict.suites:
            ranked = sorted(suite.rows, key=_standing)
            best = [row for row in reversed(ranked[ANSWERS:])][:ANSWERS]
            for title, rows in (("worst", ranked[:ANSWERS]), ("best", best)):
                if rows:
                    yield f"## {plain(suite.suite)}: {title} answers"
                    yield "\n\n".join(map(_row, rows))
    elif report.served is not None and report.served.answers:
        yield "## Answers"
        yield "\n\n".join(map(_answer, report.served.answers[: 2 * ANSWERS]))


def _standing(row: RowScore) -> tuple[float, float]:
    return (row.change or 0.0, row.candidate_score)


def _row(row: RowScore) -> str:
    lines = [("asked", row.question), ("wanted", row.wanted)]
    lines.append((f"answered ({row.candidate_score:.3f})", row.candidate))
    if row.champion is not None and row.champion_score is not None:
        lines.append((f"champion ({row.champion_score:.3f})", row.champion))
    return _said(lines)


def _answer(one: Answer) -> str:
    return _said([("asked", one.question), ("reference", one.reference), ("answered", one.answer)])


def _said(lines: list[tuple[str, str]]) -> str:
    return "  \n".join(f"**{who}** {plain(text)}" for who, text in lines)


def _cost(report: RunReport) -> str:
    planned = report.plan.estimate if report.plan else None
    spent = report.spent
    if planned is None and spent is None:
        return "Nothing was planned, and nothing was spent."
    currency = spent.currency if spent else planned.currency if planned else ""
    before = {line.what: line.cost for line in planned.lines} if planned else {}
    rows = []
    for what in (TRAINING, "endpoint"):
        actual = f"{total(spent.of(what)):.2f}" if spent else "none"
        rows.append([what, f"{before[what]:.2f}" if what in before else "unknown", actual])
    rows.append(
        [
            "in all",
            f"{planned.total:.2f}" if planned else "unknown",
            f"{spent.total:.2f}" if spent else "none",
        ]
    )
    return table(["what", f"planned {currency}", f"actual {currency}"], rows)


def _seconds(report: RunReport) -> float:
    return (report.ended - report.began).total_seconds()


def _created(report: RunReport) -> Iterator[list[str]]:
    """Yield what the run made or adopted, and what became of it."""
    plan, trained, served = report.plan, report.trained, report.served
    if plan is None:
        return
    job = trained.job if trained else report.job
    if job is not None:
        ended = "ended" if trained else "ended or cancelled"
        yield ["job", job.name, f"{ended}; stays in the workspace's history"]
    if trained is not None:
        model = trained.registered
        yield ["model", f"{model.name} {model.version}", "registered; costs storage only"]
        yield ["data", trained.data.version, "data assets; cost storage only"]
        if trained.cluster:
            yield ["cluster", trained.cluster, "scales to zero"]
    if job is not None or served is not None:
        yield ["endpoint", plan.serving.endpoint, _endpoint(report)]


def _endpoint(report: RunReport) -> str:
    if report.left:
        return "may still run and bill"
    if report.served is not None and report.served.endpoint_kept and report.outcome == "completed":
        hours = report.plan.serving.choice.keep_hours if report.plan else 0
        return f"kept: it bills until the reaper deletes it after {hours:g} hours"
    return "deleted, or never made"


def next_steps(report: RunReport) -> list[str]:
    """Return what a reader may do now, a sentence each."""
    retry = f"`prefect flow-run retry {report.flow_run_id}`"
    steps = []
    if report.left:
        steps.append("Look in the studio, or run `fine-tune reap`, until nothing is left.")
    if report.outcome == "cancelled":
        return [*steps, "Start a new run when you want it: a cancelled run's job is cancelled too."]
    if report.outcome == "failed":
        if report.error_class:
            steps.append(
                f"`{report.error_class}` has an entry in docs/troubleshooting.md: cause and remedy."
            )
        if report.error_class == "PlanRefused":
            return [*steps, "Change what the plan names. Nothing was created, nothing is owed."]
        return [*steps, f"Fix the cause, then {retry}: it adopts what this run made."]
    if report.verdict is None:
        steps.append("Set `run.evaluation.compare` to have the next one judged.")
    elif report.verdict.decision == "promote":
        steps.append("It is better than the champion: put it where the champion serves.")
    else:
        steps.append("The champion stays. The worst answers above say where to look.")
    if report.served is not None and report.served.endpoint_kept:
        steps.append(f"Ask the endpoint `{report.served.endpoint}`, and delete it when done.")
    return steps


_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|&~!])")


def plain(text: str) -> str:
    """Return a text on one line that markdown shows as it is, cut where it is long."""
    flat = " ".join(text.split())
    short = flat if len(flat) <= SHOWN else f"{flat[: SHOWN - 1]}…"
    return _SPECIAL.sub(r"\\\1", short)


def as_html(report: RunReport) -> str:
    """Return the report as one HTML file that needs no other: no script, no address to load."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(as_markdown(report))
    curve = _drawn(report.trained.metrics.curves) if report.trained else ""
    head, _, rest = body.partition("</h1>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(report.name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{head}</h1>\n{curve}{rest}\n</body>\n</html>\n"
    )


STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{border:1px solid #8888;padding:.3rem .6rem;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}svg{width:100%;height:auto}"
)
WIDTH, HEIGHT = 600, 200


def _drawn(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Return the losses by step as a picture in the page; none where there are no two points."""
    drawn = {name: points for name, points in curves.items() if name in ("loss", "eval_loss")}
    points = [point for line in drawn.values() for point in line]
    if len(points) < 2:
        return ""
    steps, values = [one[0] for one in points], [one[1] for one in points]
    wide, tall = max(steps) - min(steps) or 1, max(values) - min(values) or 1

    def place(step: int, value: float) -> str:
        x = (step - min(steps)) / wide * (WIDTH - 20) + 10
        y = (max(values) - value) / tall * (HEIGHT - 20) + 10
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{color}" stroke-width="2" '
        f'points="{" ".join(place(*one) for one in drawn[name])}"/>'
        for name, color in (("loss", "#1f77b4"), ("eval_loss", "#ff7f0e"))
        if name in drawn
    )
    label = f"loss (blue) and evaluation loss (orange), {min(values):.3f} to {max(values):.3f}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{label}</title>{lines}</svg>'
        f"<p>{label.capitalize()}.</p>\n"
    )
