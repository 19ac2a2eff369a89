"""Watching: the training as it is now, in one artifact, a progress bar and a line of the terminal.

Read at each look by plain REST, written only where something has changed. All of it is decoration:
what cannot be read or shown is said once and ends no wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.events import emit_event

from finetuning.azure.run_history import StepRun, get_steps
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.azure.tracking import last_logged, logged_values
from finetuning.form.results import SubmittedJob
from finetuning.planning.plan import Plan
from finetuning.recipes import find_recipe
from finetuning.training.curve import CURVES, Asked, Curve, Point
from finetuning.training.hopeless import Sign, last_values, signs
from finetuning.training.report import Money, Seen, StepState, headline, page
from tasks.metrics import draw

#: The artifacts' keys: the page with picture and numbers, and the progress bar.
PAGE, BAR = "training", "training-progress"
LOGGER = "prefect"
#: The event that says that a training looks hopeless, whether it is stopped or not.
HOPELESS = "fine-tune.training.hopeless"


class Reader:
    """Reads a job's steps and its training's curve; asks for the curve only where it has grown."""

    def __init__(self, settings: Settings, plan: Plan, job: str) -> None:
        self.settings, self.job = settings, job
        self.recipe = find_recipe(plan.recipe)
        self.asked = Asked.of(plan.job.parameters)
        self._newest = ""
        self.curve = Curve(asked=self.asked)
        #: Why the last look could not read the curve; the steps are shown all the same.
        self.trouble = ""

    def read(self, steps: Sequence[StepRun] | None = None) -> Seen:
        """Return the job as it is now; ``steps``: those that somebody has just read.

        Raises:
            FineTuneError: the run history did not tell.
        """
        with service_errors("Read the job's progress"):
            found = get_steps(self.settings, self.job) if steps is None else steps
        began = sorted(found, key=lambda step: step.started or math.inf)
        self.trouble = ""
        try:
            with service_errors("Read the training's metrics"):
                for step in began:
                    if step.started is not None and self.recipe.step(step.name).distributed:
                        self._follow(step.run)
        except Exception as error:  # refused, or nothing that could be read
            self.trouble = str(error)
        return Seen(tuple(StepState(step.name, step.status) for step in began), self.curve)

    def _follow(self, run: str) -> None:
        last = last_logged(self.settings, run)
        names = [name for name in CURVES if name in last]
        newest = repr([last[name] for name in names])  # as text: nan is not equal to nan
        if newest == self._newest:
            return
        logged = {
            name: [Point(*one) for one in logged_values(self.settings, run, name)] for name in names
        }
        self.curve, self._newest = Curve.of(logged, self.asked), newest


@dataclass(frozen=True)
class Watched:
    """The job that is shown: what it is called, what it was planned as, and what it has cost."""

    job: SubmittedJob
    plan: Plan
    flow_run_id: str
    spent: Callable[[], float | None] = lambda: None

    def page(self, seen: Seen) -> str:
        """Return the artifact's markdown."""
        estimate = self.plan.estimate
        money = Money(
            currency=estimate.currency if estimate else "",
            spent=self.spent(),
            expected=estimate.total if estimate and estimate.complete else None,
            budget=self.plan.budget,
        )
        curves = {
            name: [(one.step, one.value) for one in points]
            for name, points in seen.curve.points.items()
        }
        picture = draw(curves) if seen.curve.step else ""
        rows = self.plan.job.rows_per_step
        return page(self.job.name, self.job.studio_url, seen, money, rows, picture)


class Artifact:
    """One artifact of a run, made once and then written over, whichever process does that."""

    def __init__(self, flow_run_id: str, key: str, kind: str) -> None:
        self.flow_run_id, self.key, self.kind = UUID(flow_run_id), key, kind
        self._id: UUID | None = None
        self._description: str | None = None

    def show(self, data: Callable[[], str | float], description: str) -> bool:
        """Write it, unless it says ``description`` already; return whether it was written."""
        with get_client(sync_client=True) as client:
            if self._id is None:
                self._find(client)
            if self._id is not None and self._description == description:
                return False
            if self._id is None:
                made = client.create_artifact(
                    ArtifactCreate(
                        key=self.key,
                        type=self.kind,
                        data=data(),
                        description=description,
                        flow_run_id=self.flow_run_id,
                    )
                )
                self._id = made.id
            else:
                update = ArtifactUpdate(data=data(), description=description)
                client.update_artifact(self._id, update)
        self._description = description
        return True

    def _find(self, client: Any) -> None:
        of_this_run = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[self.flow_run_id]),
            key=ArtifactFilterKey(any_=[self.key]),
        )
        for found in client.read_artifacts(artifact_filter=of_this_run, limit=1):
            self._id, self._description = found.id, found.description


class Display:
    """Shows a training wherever somebody may look: artifacts, log, terminal."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self._shown = ""
        self._page = Artifact(watched.flow_run_id, PAGE, "markdown")
        self._bar = Artifact(watched.flow_run_id, BAR, "progress")
        self._line = TerminalLine()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.stop()

    def show(self, seen: Seen) -> None:
        """Show it where it has changed since the last look.

        Raises:
            httpx.HTTPError, PrefectException, RuntimeError: Prefect's server did not take it.
        """
        said = headline(seen)
        if said == self._shown:
            return
        get_run_logger().info("job %s: %s", self.watched.job.name, said)
        self._line.show(seen, said)
        self.publish(seen)
        self._shown = said  # last: it is shown again once the server is back

    def publish(self, seen: Seen) -> bool:
        """Write the artifacts where they say something else; return whether they did."""
        said = headline(seen)
        self._bar.show(lambda: percent(seen), f"The training: {said}")
        return self._page.show(lambda: self.watched.page(seen), said)


def percent(seen: Seen) -> float:
    """Return how far the training is, in percent: by its own steps, which take the time."""
    if seen.steps and all(step.status == "Completed" for step in seen.steps):
        return 100.0
    return round(100.0 * (seen.curve.share or 0.0), 1)


class TerminalLine:
    """A progress bar below the log, where somebody sits before the terminal that shows it.

    Prefect's own console draws it, so that log lines appear above the bar and not through it.
    """

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None

    def show(self, seen: Seen, said: str) -> None:
        """Draw the bar, or draw it anew."""
        if self._progress is None and not self._start():
            return
        done, total = seen.curve.step, seen.curve.total
        self._progress.update(self._task, completed=done, total=total, said=said)
        self._progress.refresh()

    def stop(self) -> None:
        """Take the bar away; the log keeps what it said."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> bool:
        console = terminal()
        if console is None:
            return False
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(bar_width=30), TextColumn("{task.fields[said]}"))
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("training", total=None, said="")
        self._progress.start()
        return True


def terminal() -> Any:
    """Return the console on which Prefect logs, if that is a terminal."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, PrefectConsoleHandler) and handler.console.is_terminal:
            return handler.console
    return None


class Lookout:
    """Reads and shows a training at each look; what goes wrong on the way is said once."""

    def __init__(self, reader: Reader, display: Display) -> None:
        self.reader, self.display = reader, display
        self._said: set[str] = set()
        self._told: set[str] = set()

    def look(self) -> list[Sign]:
        """Show the training as it is now; return why it is to be stopped, if it is.

        What is hopeless and no reason to stop is warned of, once, and an event.
        """
        seen = self._shown()
        plan = self.display.watched.plan
        found = [] if seen is None else signs(seen.curve, plan.hopeless)
        for sign in found:
            self._tell(sign)
        return [sign for sign in found if sign.kind in plan.stop_when]

    def last_values(self) -> str:
        """Return the last points of the curve, as the last look saw it."""
        return last_values(self.reader.curve)

    def _tell(self, sign: Sign) -> None:
        if sign.kind in self._told:
            return
        self._told.add(sign.kind)
        watched = self.display.watched
        get_run_logger().warning("the training looks hopeless (%s): %s", sign.kind, sign.what)
        emit_event(
            event=HOPELESS,
            resource={"prefect.resource.id": f"prefect.flow-run.{watched.flow_run_id}"},
            payload={"job": watched.job.name, "sign": sign.kind, "what": sign.what},
        )

    def _shown(self) -> Seen | None:
        try:
            seen = self.reader.read()
        except Exception as error:  # refused, or nothing that could be read: the job goes on
            self._say(f"progress is not read: {error}")
            return None
        if self.reader.trouble:
            self._say(f"the curve is not read: {self.reader.trouble}")
        try:
            self.display.show(seen)
        except Exception as error:  # Prefect's server, the picture, the terminal: likewise
            self._say(f"progress is not shown: {error}")
        return seen

    def _say(self, trouble: str) -> None:
        """Warn once of each trouble."""
        if trouble not in self._said:
            self._said.add(trouble)
            get_run_logger().warning("%s", trouble)


def show_from_afar(settings: Settings, watched: Watched, steps: Sequence[StepRun]) -> bool:
    """Show the training of a run without a process; return whether there was something new.

    ``steps``: the job's, as they have just been read. What cannot be shown is only said.
    """
    try:
        seen = Reader(settings, watched.plan, watched.job.name).read(steps)
        return Display(watched).publish(seen)
    except Exception as error:  # a poller watches other runs, too
        get_run_logger().warning("job %s is not shown: %s", watched.job.name, error)
        return False


@contextmanager
def lookout(settings: Settings, watched: Watched) -> Iterator[Lookout]:
    """Watch a training; afterwards the terminal is as it was."""
    with Display(watched) as display:
        yield Lookout(Reader(settings, watched.plan, watched.job.name), display)
