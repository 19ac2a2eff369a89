"""What becomes of runs: their records, their logs and folders, and who is told of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emulator.clock import Clock
from emulator.services.jobs import records
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.records import Jobs, Record
from emulator.services.storage.blobs import Storage

STD_LOG = "user_logs/std_log.txt"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"


class Tracking(Protocol):
    """Where runs and their metrics are shown; told that a run has something new."""

    def touch(self, name: str) -> None: ...


class StepFailed(Exception):
    """A program ended badly, or could not begin; ``error`` is run history's shape.

    ``status`` is what becomes of the run.
    """

    def __init__(self, child: str, error: dict[str, Any], status: str = "Failed") -> None:
        super().__init__(child, error, status)
        self.child = child
        self.error = error
        self.status = status


@dataclass
class Runs:
    """The runs of one emulator; ``folder`` holds their working folders."""

    folder: Path
    jobs: Jobs
    clock: Clock
    tracking: Tracking
    webhook: Webhook
    storage: Storage
    location: str

    def record(self, name: str) -> Record:
        """Raises KeyError: the job was deleted."""
        record = self.jobs.get(name)
        if record is None:
            raise KeyError(name)
        return record

    def children(self, job_key: str) -> list[Record]:
        """The job's steps in their order."""
        return self.jobs.steps(self.record(job_key))

    def set(self, name: str, **changes: Any) -> Record:
        """Change a record; a new status is told on."""
        record = self.record(name)
        news = changes.get("status", record["status"]) != record["status"]
        record.update(changes)
        self.jobs.put(record)
        if news:
            self.announce(record)
        return record

    def begin(self, name: str) -> Record:
        """The run is Running from now on."""
        return self.set(name, status="Running", started=self.clock.now())

    def end(self, name: str, status: str, error: dict[str, Any] | None = None) -> Record:
        """The run has ended now."""
        return self.set(name, status=status, error=error, ended=self.clock.now())

    def announce(self, record: Record) -> None:
        """Tell everybody who wants to know of a run's status."""
        self.tracking.touch(record["name"])
        self.webhook.tell(record)

    def error(self, code: str, message: str) -> dict[str, Any]:
        """An error of this region."""
        return records.error(code, message, self.location)

    def say(self, record: Record, text: str) -> None:
        """Write a line into a pipeline's own log; a program's log is its own."""
        if records.runs_a_program(record):
            return
        path = self.log_path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"[{records.utc(round(self.clock.now()))}] {text}\n")

    def log_path(self, record: Record) -> Path:
        """The log of a run: what its program printed, or what became of the pipeline's steps."""
        folder = records.artifact_folder(record["name"])
        return self.storage.path(records.ARTIFACTS, f"{folder}/{log_name(record)}")

    def step_folder(self, child: Record) -> Path:
        """Where a step's or a command's program works."""
        return records.step_folder(self.folder, child)


def log_name(record: Record) -> str:
    """Where a run's log is among its artifacts."""
    return STD_LOG if records.runs_a_program(record) else EXECUTION_LOG
