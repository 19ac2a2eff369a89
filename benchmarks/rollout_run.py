"""The flows of ``make rollout``, and the load meanwhile: ``... rollout_run RESULT.json``.

Three real trainings of a tiny model on made-up conversations: whoever trains longer answers better,
and whoever trains on other answers worse.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stage import until
from benchmarks.tiny import SIZE
from finetuning.azure.client import open_client
from finetuning.azure.settings import load_settings
from finetuning.errors import PromotionError
from finetuning.form.promote import Promote
from finetuning.form.results import Result
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.promote import promote

NAME = "rollout"
ROWS = 30
GOOD, OTHER = "yes yes yes yes", "no no no no"
#: Requests a second that the load sends, in turn by so many threads.
PER_SECOND, THREADS = 3.0, 2
RULES: dict[str, Any] = {
    "endpoint": NAME,
    "dwell_minutes": 0.1,
    "probe_rows": 8,
    "max_new_tokens": 8,
    "max_slowdown": 10,  # two cores train, answer and ask at once here
}
DEADLINES: dict[str, Any] = {
    "training_minutes": 10,
    "deployment_minutes": 5,
    "deletion_minutes": 2,
    "poll_seconds": 0.5,
}


def say(what: str) -> None:
    """Print to whoever watches; what the SDK prints meanwhile goes to the log."""
    print(what, file=sys.__stdout__, flush=True)


def conversations(file: Path, seed: int, answer: str) -> str:
    """Write questions of random letters, all with one answer; another seed, other questions."""
    draw, lines = random.Random(seed), []
    for _ in range(ROWS):
        question = " ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(6))
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"prompt": question, "prompt_id": question, "messages": messages}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def trained(folder: Path, steps: int, answer: str) -> Result:
    """Fine-tune, evaluate, and promote if better. All are asked the same questions."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        name: conversations(folder / f"{name}.jsonl", seed, answer)
        for seed, name in enumerate(("train_sft", "test_sft"))
    }
    for seed, name in enumerate(("train_gen", "test_gen"), len(files)):
        files[name] = conversations(folder / f"{name}.jsonl", seed, GOOD)
    run = {
        "registered_name": NAME,
        "data": {"files": files, "percentage": 100},
        "parameters": {
            "learning_rate": 5e-3,
            "apply_lora": False,
            "other": {"max_steps": steps, "max_seq_length": 96, "logging_steps": 1},
        },
        "test": {"max_new_tokens": 8},
        "evaluation": {
            "compare": "kept",
            "max_new_tokens": 8,
            "own": {"rows": ROWS, "metric": "chrf"},
            "general": {"on": False},  # a tiny random model knows nothing to forget
        },
        "promotion": {"when": "if_better", **RULES},
        "endpoint": {"probe_initial_delay_s": 1},
        "deadlines": DEADLINES,
    }
    result: Result = fine_tune(FineTune.model_validate(run))
    return result


@dataclass
class Load:
    """Steady requests to the product endpoint, and what became of them."""

    url: str
    key: str
    sent: int = 0
    failed: list[tuple[str, int]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self) -> None:
        """Send requests until the load has ended."""
        import requests

        body = {"input_data": {"input_string": [{"role": "user", "content": "ab cd ef"}],
                               "parameters": {"max_new_tokens": 4, "do_sample": False}},
                "params": {}}  # fmt: skip
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self.key}"
            while not self.ended.wait(THREADS / PER_SECOND):
                self._count(session, body)

    def _count(self, session: Any, body: dict[str, Any]) -> None:
        import requests

        try:
            answer = session.post(self.url, json=body, timeout=60)
            status = answer.status_code
            by = str(answer.headers.get("azureml-model-deployment", ""))
        except requests.RequestException:
            status, by = 0, ""
        with self.lock:
            self.sent += 1
            if status != 200:
                self.failed.append((by, status))


@contextmanager
def under_load() -> Iterator[Load]:
    """Have the product endpoint asked all the time."""
    online = open_client(load_settings()).online_endpoints
    load = Load(str(online.get(NAME).scoring_uri), online.get_keys(NAME).primary_key)
    threads = [threading.Thread(target=load.ask, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in threads:
            thread.join(90)


def traffic() -> dict[str, int]:
    """The live shares of the product endpoint."""
    found = open_client(load_settings()).online_endpoints.get(NAME).traffic or {}
    return {name: share for name, share in found.items() if share}


class Crash(threading.Thread):
    """Has the candidate's process die at each request, once it has a share of the traffic."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.candidate, self.seconds = "", float("nan")

    def run(self) -> None:
        """Wait for the share, crash, and measure until one deployment has all the traffic."""
        (old,) = traffic()
        shares = until("the candidate has a share", self._shared, 300)
        (self.candidate,) = set(shares) - {old}
        fault = {"kind": "scorer_crashes", "step": f"request:{self.candidate}", "times": 0}
        _tell_emulator("POST", fault)
        began = time.monotonic()
        until("the old one has all the traffic", lambda: traffic() == {old: 100}, 300)
        self.seconds = round(time.monotonic() - began, 1)

    def _shared(self) -> dict[str, int] | None:
        found = traffic()
        return found if len(found) > 1 else None


def _tell_emulator(method: str, body: Any = None) -> None:
    import httpx

    url = f"{os.environ['EMULATOR_ADMIN_URL']}/faults"
    httpx.request(method, url, json=body, trust_env=False).raise_for_status()


def crashed(version: str) -> tuple[str, Crash]:
    """Promote a version whose process dies under its first share; how that ended."""
    crash = Crash()
    crash.start()
    values = {**RULES, "model": NAME, "version": version, "instance_type": SIZE, "max_drop": 1}
    try:
        promoted = promote(Promote(**values, probe_initial_delay_s=1, deadlines=DEADLINES))
        outcome = str(promoted.outcome)
    except PromotionError as error:
        say(f"  {str(error)[:160]}")
        outcome = "returned"
    crash.join(60)
    _tell_emulator("DELETE")
    return outcome, crash


def scenario(folder: Path) -> dict[str, Any]:
    """Run it all; the report."""
    say("champion: trained for one step; the first model of all simply serves")
    champion = trained(folder / "champion", 1, GOOD)
    (first,) = traffic()
    with under_load() as load:
        say("better: trained for sixty; takes the traffic by steps")
        better = trained(folder / "better", 60, GOOD)
        promoted = traffic()
        say("worse: trained on other answers; its verdict keeps it away")
        worse = trained(folder / "worse", 60, OTHER)
        untouched = traffic() == promoted
        say("crashing: its process dies under its first share of the traffic")
        outcome, crash = crashed(worse.registered.version)
        returned = traffic() == promoted
    by_crash = [one for one in load.failed if one[0] == crash.candidate]
    verdicts = {
        who: one.verdict.decision if one.verdict else None
        for who, one in (("champion", champion), ("better", better), ("worse", worse))
    }
    return {
        "requests": load.sent,
        "failed": len(load.failed),
        "failed_by_the_crash": len(by_crash),
        "promoted": untouched and first not in promoted and len(promoted) == 1,
        "returned": outcome == "returned" and returned,
        "return_seconds": crash.seconds,
        "verdicts": {**verdicts, "crashing": outcome},
    }


def main(target: Path) -> None:
    """Run the scenario and leave its report."""
    sys.stdout = sys.stderr
    found = scenario(target.parent / "conversations")
    target.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
