"""``make demo``: the whole fine-tune against an emulator, and what came of it.

Prints the report and writes it to ``var/demo/report.json``; the exit code is 0 only if all of it is
as it should be. What is left running is asked of the emulator, not assumed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from deployments.local_stack import (
    ROOT,
    VAR,
    NotStarted,
    PortTaken,
    emulator,
    free_port,
    need_emulator,
    prefect_server,
    summary,
)

HOME = VAR / "demo"


def main(argv: list[str], program: str = "python -m deployments.demo") -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.parse_args(argv)  # it takes none
    need_emulator("smollm2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    try:
        return show(time.monotonic())
    except (NotStarted, PortTaken) as error:
        print(error, file=sys.stderr)
        return 1


def show(began: float) -> int:
    """Run the flow against an emulator and print what came of it; the exit code.

    Raises:
        NotStarted, PortTaken: the emulator or the Prefect server did not come up.
    """
    print("Starting an emulated Azure ML and a Prefect server on this machine ...", flush=True)
    with (
        emulator(HOME / "emulator", "--weights", "smollm2", "--preload") as azure,
        prefect_server(HOME / "prefect", free_port()) as prefect,
    ):
        found = run_flow({**os.environ, **azure, **prefect, "FINETUNE_DATA": str(HOME / "data")})
        left = summary(azure)
        weights = weights_of(left)
    report = make_report(found, left, weights)
    (HOME / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    wrong = problems(found, report)
    print(text(report, wrong, time.monotonic() - began))
    return 1 if wrong else 0


def run_flow(env: Mapping[str, str]) -> dict[str, Any]:
    """Run the flow in a process of its own, its log on this terminal; what it left as data."""
    target = HOME / "result.json"
    command = [sys.executable, "-m", "deployments.demo_run", str(target)]
    subprocess.run(command, cwd=ROOT, env=dict(env), check=False)
    if not target.exists():
        return {"state": "CRASHED", "error": "the flow's process died", "steps": {}}
    return dict(json.loads(target.read_text(encoding="utf-8")))


def weights_of(left: Mapping[str, Any]) -> str:
    """What really stood behind the registry's model, in words."""
    names = {
        "smollm2": "SmolLM2-135M-Instruct, standing in for it",
        "tiny": "a tiny random model, standing in for it",
    }
    return names[left["weights"]]


def make_report(found: Mapping[str, Any], left: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """The report as data; what did not come to be is None or empty."""
    result = found.get("result") or {}
    curves = (result.get("metrics") or {}).get("curves") or {}
    losses = [value for _, value in curves.get("loss", [])]
    evaluations = [value for _, value in curves.get("eval_loss", [])]
    model, registered = result.get("model") or {}, result.get("registered") or {}
    return {
        "base_model": f"{model['name']} version {model['version']}" if model else None,
        "weights": weights,
        "rows": {name: file["rows"] for name, file in files_of(result).items()},
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "eval_loss_first": evaluations[0] if evaluations else None,
        "eval_loss_last": evaluations[-1] if evaluations else None,
        "registered_model": registered.get("name"),
        "registered_version": registered.get("version"),
        "answers": result.get("answers") or [],
        "steps": found["steps"],
        "endpoints_left": len(left["endpoints"]),
        "jobs_started": left["jobs_started"],
    }


def files_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The prepared splits of a result, by name."""
    return dict((result.get("data") or {}).get("files") or {})


def problems(found: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, one sentence each."""
    wrong = []
    if found["state"] != "COMPLETED":
        wrong.append(f"The flow is {found['state']}: {found.get('error')}")
    if not _fell(report["loss_first"], report["loss_last"]):
        wrong.append("The training loss did not fall.")
    if not _fell(report["eval_loss_first"], report["eval_loss_last"]):
        wrong.append("The evaluation loss did not fall.")
    if not report["answers"] or not all(one["answer"].strip() for one in report["answers"]):
        wrong.append("Not every test question was answered.")
    if report["endpoints_left"]:
        wrong.append(f"{report['endpoints_left']} endpoint(s) are still running.")
    if report["jobs_started"] != 1:
        wrong.append(f"{report['jobs_started']} training jobs were started, not one.")
    return wrong


def _fell(first: float | None, last: float | None) -> bool:
    return first is not None and last is not None and last < first


def text(report: Mapping[str, Any], wrong: list[str], seconds: float) -> str:
    """The report for a person."""
    rows = ", ".join(f"{name} {count}" for name, count in report["rows"].items())
    lines = [
        "",
        f"base model        {report['base_model']} (weights: {report['weights']})",
        f"rows              {rows}",
        f"training loss     {_arrow(report['loss_first'], report['loss_last'])}",
        f"evaluation loss   {_arrow(report['eval_loss_first'], report['eval_loss_last'])}",
        f"registered        {report['registered_model']} version {report['registered_version']}",
    ]
    for one in report["answers"]:
        lines += [
            "",
            f"asked             {_short(one['question'])}",
            f"reference         {_short(one['reference'])}",
            f"answered          {_short(one['answer'])}",
        ]
    lines += ["", "seconds           step"]
    lines += [f"{taken:>7.1f}           {name}" for name, taken in report["steps"].items()]
    lines += [
        f"{seconds:>7.1f}           in all",
        "",
        f"training jobs started: {report['jobs_started']}",
        f"endpoints left running: {report['endpoints_left']}",
        *[f"WRONG: {one}" for one in wrong],
    ]
    return "\n".join(lines)


def _arrow(first: float | None, last: float | None) -> str:
    return "none" if first is None or last is None else f"{first:.3f} -> {last:.3f}"


def _short(words: str, most: int = 100) -> str:
    flat = " ".join(words.split())
    return flat if len(flat) <= most else f"{flat[: most - 3]}..."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
