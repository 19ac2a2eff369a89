"""``make rollout``: a champion serves under steady load; who may take its place is seen.

A better model is promoted by steps. A worse one is not, by its verdict. A crashing one is not: its
process dies under its first share of the traffic, and the old model has all of it again. Prints
what happened and writes it to ``var/rollout/report.json``; the exit code is 0 only if all of it is
as it should be.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from deployments.local_stack import ROOT, VAR, emulator, free_port, prefect_server, summary

HOME = VAR / "rollout"
#: The longest way back, in seconds, beside what the emulator's profile adds (fast: nothing).
RETURNS_WITHIN_S = 30.0
VERDICTS = {"champion": "hold", "better": "promote", "worse": "refuse", "crashing": "returned"}


def main(argv: list[str]) -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.parse_args(argv)  # it takes none
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    began = time.monotonic()
    print("Starting an emulated Azure ML and a Prefect server on this machine ...", flush=True)
    with (
        emulator(HOME / "emulator", "--weights", "tiny", "--preload") as azure,
        prefect_server(HOME / "prefect", free_port()) as prefect,
    ):
        found = run({**os.environ, **azure, **prefect, "FINETUNE_DATA": str(HOME / "data")})
        found["deployments_left"] = [one["name"] for one in summary(azure)["deployments"]]
    (HOME / "report.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    wrong = problems(found)
    print(text(found, wrong, time.monotonic() - began))
    return 1 if wrong else 0


def run(env: Mapping[str, str]) -> dict[str, Any]:
    """Run the flows in a process of their own; what they left as data."""
    target = HOME / "result.json"
    command = [sys.executable, "-m", "benchmarks.rollout_run", str(target)]
    env = {**env, "PREFECT_LOGGING_LEVEL": "WARNING"}
    with (HOME / "flows.log").open("ab") as log:
        subprocess.run(command, cwd=ROOT, env=env, stderr=log, check=False)
    if not target.exists():
        return {"error": f"the flows' process died; see {HOME / 'flows.log'}"}
    return dict(json.loads(target.read_text(encoding="utf-8")))


def problems(found: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, one sentence each."""
    if "error" in found:
        return [str(found["error"])]
    wrong = [
        f"The {who} model's verdict is {found['verdicts'].get(who)}, not {expected}."
        for who, expected in VERDICTS.items()
        if found["verdicts"].get(who) != expected
    ]
    if not found["promoted"]:
        wrong.append("The better model does not have the traffic.")
    if not found["returned"]:
        wrong.append("The crashing model's traffic did not go back to the old one.")
    elif math.isnan(found["return_seconds"]):
        wrong.append("How long the way back took was not measured.")
    elif found["return_seconds"] > RETURNS_WITHIN_S:
        wrong.append(f"The traffic was back after {found['return_seconds']:.1f} s only.")
    if found["failed"] != found["failed_by_the_crash"]:
        wrong.append(f"{found['failed'] - found['failed_by_the_crash']} other requests failed.")
    return wrong


def text(found: Mapping[str, Any], wrong: list[str], seconds: float) -> str:
    """The report for a person."""
    lines = [""]
    if "error" not in found:
        lines += [
            f"requests sent     {found['requests']}",
            f"failed            {found['failed']} ({found['failed_by_the_crash']} of them by the "
            "crash itself)",
            f"seconds until the old one had all traffic again: {found['return_seconds']}",
            *[f"{who:<17} {verdict}" for who, verdict in found["verdicts"].items()],
            f"deployments left  {', '.join(found['deployments_left'])}",
        ]
    lines += [f"seconds in all    {seconds:.0f}", *[f"WRONG: {one}" for one in wrong]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
