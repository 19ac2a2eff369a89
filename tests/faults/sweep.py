"""One shard of the sweep: an emulator and a Prefect server of its own, one case after another."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetuning.azure.naming import run_key
from finetuning.form.run import FineTune
from tests.conftest import RunningEmulator, environment, running_emulator
from tests.faults.cases import GIVES_UP_S, MESSAGE, Case, Outcome
from tests.faults.one_run import ForkedRun, preload
from tests.faults.positions import Position, positions_of
from tests.faults.secrets_seen import Secrets
from tests.support.runs import names

#: Longest that one run may take before it counts as hanging.
RUN_WITHIN_S = 240.0
#: Words of which one must be in the message of a run that failed by a connection's fault.
CONNECTION = ("connection", "timed out", "timeout", "no answer", "reset", "disconnected", "aborted")


def tiny_run(key: str, number: int) -> FineTune:
    """The smallest whole run, with a cluster, rows and an upload of its own."""
    return FineTune.model_validate(
        {
            "key": key,
            "compute": {"name": cluster_of(key)},
            "data": {"percentage": 1, "take": "sample", "seed": number, "max_rows": 16},
            "parameters": {
                "num_train_epochs": 1,
                "learning_rate": 1e-3,
                "other": {"max_steps": 1, "max_seq_length": 48, "logging_steps": 1},
            },
            "test": {"max_new_tokens": 4},
            "deadlines": {
                "compute_minutes": 1,
                "training_minutes": 3,
                "deployment_minutes": 2,
                "deletion_minutes": 1,
                "outage_minutes": 1,
                "poll_seconds": 0.5,
            },
        }
    )


def cluster_of(key: str) -> str:
    return f"c-x{run_key('', key)}"  # never digits alone, which Azure refuses after a hyphen


@dataclass
class Shard:
    """What the cases of a shard share."""

    emulator: RunningEmulator
    secrets: Secrets
    folder: Path

    def record(self) -> list[Position]:
        """Run once without a fault, and return what can be hit.

        Raises:
            RuntimeError: the clean run itself does not complete.
        """
        key, before = uuid.uuid4().hex, self._newest()
        run = ForkedRun(tiny_run(key, 0), self.folder / "clean", 0, GIVES_UP_S)
        run.wait(RUN_WITHIN_S)
        run.kill()
        if run.ended()["state"] != "Completed":
            raise RuntimeError(f"the clean run: {run.ended()}; see {run.log}")
        return positions_of(self.emulator.requests(after=before), [cluster_of(key)])

    def try_case(self, case: Case, number: int) -> Outcome:
        """Run with the fault, once more if it died, reap if need be, and judge."""
        key, folder, started = uuid.uuid4().hex, self.folder / f"case-{number}", time.monotonic()
        jobs = self.emulator.summary()["jobs_started"]
        self.emulator.clear_faults()
        fault = self.emulator.add_fault(**case.for_emulator())
        runs = [ForkedRun(tiny_run(key, number), folder, 0, GIVES_UP_S)]
        hit = self._follow(case, int(fault["id"]), runs[0])
        ended = runs[0].ended()
        again = None
        if ended["state"] == "Killed":
            self.emulator.clear_faults()
            runs.append(ForkedRun(tiny_run(key, number), folder, 1, GIVES_UP_S))
            if not runs[1].wait(RUN_WITHIN_S):
                runs[1].kill()
            again = runs[1].ended()["state"]
        self.emulator.clear_faults()
        left = self._left(key, folder)
        text = "\n".join(run.log.read_text(errors="replace") for run in runs)
        return Outcome(
            name=case.name,
            host=case.position.host,
            method=case.position.method,
            path=case.position.path,
            occurrence=case.position.occurrence,
            fault=case.fault,
            hit=hit,
            state=ended["state"],
            message=ended["message"][:600],
            names_cause=names_cause(case, ended["message"]),
            again=again,
            jobs=self.emulator.summary()["jobs_started"] - jobs,
            left=left,
            secret=self.secrets.in_text(text + str(ended)),
            seconds=round(time.monotonic() - started, 1),
        )

    def _follow(self, case: Case, fault: int, run: ForkedRun) -> bool:
        """Wait for the run's end, killing it where the case says so; return whether it was hit."""
        deadline = time.monotonic() + RUN_WITHIN_S
        while run.running() and time.monotonic() < deadline:
            if case.kills and self.emulator.ask("GET", f"faults/{fault}?wait=2")["hit"]:
                run.kill()
                self.emulator.ask("POST", f"faults/{fault}/release?drop=1")
                return True
            if not case.kills:
                run.wait(min(2.0, max(deadline - time.monotonic(), 0.0)))
        run.kill()
        return bool(self.emulator.ask("GET", f"faults/{fault}")["hit"])

    def _left(self, key: str, folder: Path) -> list[str]:
        """What of this case still runs, after one run of the reaper if anything does."""
        if not self._running(key):
            return []
        reap_here(folder / "reap.log")
        return self._running(key)

    def _running(self, key: str) -> list[str]:
        short = run_key("", key)
        summary = self.emulator.summary()
        found = [f"endpoint {one['name']}" for one in summary["endpoints"]]
        found += [f"deployment {one['name']}" for one in summary["deployments"]]
        ended = ("Completed", "Failed", "Canceled")
        found += [f"job {one['name']}" for one in summary["jobs"] if one["status"] not in ended]
        mine = (*names(tiny_run(key, 0)), short)
        found += [f"process {one}" for one in summary["processes"] if any(m in one for m in mine)]
        return found

    def _newest(self) -> int:
        seen = self.emulator.requests()
        return int(seen[-1]["index"]) if seen else 0


def names_cause(case: Case, message: str) -> bool:
    """Tell whether an error's text says what the fault was."""
    if case.fault.isdigit():
        return case.fault in message or MESSAGE in message
    return any(word in message.lower() for word in CONNECTION)


def reap_here(log: Path) -> None:
    """Run the reaper once as a program, as its schedule would."""
    import subprocess

    command = [sys.executable, "-m", "flows.reap", "--silent-minutes", "0.01"]
    with log.open("ab") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=180, check=False)


@contextmanager
def shard(folder: Path) -> Iterator[Shard]:
    """An emulator, a Prefect server, and this process's environment pointing at both."""
    from deployments.local_stack import free_port
    from tests.support.prefect_servers import prefect_server

    folder.mkdir(parents=True, exist_ok=True)
    options = ["--weights", "tiny", "--profile", "fast", "--preload"]
    with (
        running_emulator(folder / "state", *options) as emulator,
        prefect_server(folder / "prefect", free_port()) as prefect,
        environment({**emulator.env, **prefect, **settings(folder)}),
    ):
        preload()
        secrets = Secrets(folder / "state")
        try:
            yield Shard(emulator, secrets, folder)
        finally:
            secrets.close()


def settings(folder: Path) -> dict[str, str]:
    """What makes a run quick to give up, and keeps its files in the shard's folder."""
    give_up = str(GIVES_UP_S)
    return {
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_ETAG_TIMEOUT": give_up,
        "HF_HUB_DOWNLOAD_TIMEOUT": give_up,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": give_up,
        "FINETUNE_DATA": str(folder / "data"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }


def as_position(row: dict[str, Any]) -> Position:
    return Position(row["host"], row["method"], row["path"], int(row["occurrence"]))
