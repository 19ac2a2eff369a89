"""Runs the workloads as the emulator does: real processes, forked from one with their libraries."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from emulator.processes.children import Processes
from tests.emulator.support.waiting import until

ROOT = Path(__file__).parents[3]
WORKLOADS = ROOT / "emulator" / "workloads"
CACHE = ROOT / "var" / "cache"
LONGEST_S = 120.0

Conversation = list[dict[str, str]]


@dataclass(frozen=True)
class Ran:
    """A program that has ended."""

    code: int
    log: str
    out: Path

    @property
    def sentence(self) -> str:
        """The last line of the log: what the service shows of a failure."""
        return self.log.strip().splitlines()[-1]

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Step and value of a metric."""
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["step"], row["metrics"][name]) for row in rows if name in row["metrics"]]

    def steps(self, name: str) -> list[int]:
        return [step for step, _ in self.curve(name)]

    def values(self, name: str) -> list[float]:
        return [value for _, value in self.curve(name)]

    def weights(self, folder: str = "pytorch_model_folder") -> dict[str, bytes]:
        """The tensors below a folder of the output, adapters included, as bytes."""
        return tensors(self.out / folder)


def tensors(folder: Path) -> dict[str, bytes]:
    """All tensors of the safetensors files below a folder, by their names."""
    from safetensors.numpy import load_file

    files = sorted(folder.rglob("*.safetensors"))
    return {
        name: tensor.tobytes() for file in files for name, tensor in sorted(load_file(file).items())
    }


class Bench:
    """One preloaded process for a whole module of tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.Runner()
        self._processes = Processes(folder / "processes")
        self._count = 0

    def open(self) -> None:
        self._do(self._processes.preload(WORKLOADS))
        until(self._processes._socket.exists, "the libraries are loaded")

    def close(self) -> None:
        self._do(self._processes.stop_all())
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run(asyncio.wait_for(what, LONGEST_S))

    def fresh(self) -> Path:
        self._count += 1
        folder = self.folder / f"run-{self._count}"
        folder.mkdir()
        return folder

    def run(self, program: str, *arguments: object, out: Path | None = None) -> Ran:
        """Run a program to its end."""
        return self.together(program, [list(arguments)], out)[0]

    def together(
        self, program: str, calls: list[list[object]], out: Path | None = None
    ) -> list[Ran]:
        """Run a program several times at once."""
        folders = [out or self.fresh() for _ in calls]

        async def all_of_them() -> list[int]:
            started = [
                await self._start(program, folder, call)
                for folder, call in zip(folders, calls, strict=True)
            ]
            return list(await asyncio.gather(*(running.wait() for running in started)))

        codes = self._do(all_of_them())
        return [
            Ran(code, (folder / "log.txt").read_text(), folder)
            for code, folder in zip(codes, folders, strict=True)
        ]

    async def _start(self, program: str, folder: Path, arguments: list[object]) -> Any:
        argv = [sys.executable, str(WORKLOADS / program), *map(str, arguments)]
        log = folder / "log.txt"
        log.unlink(missing_ok=True)
        return await self._processes.start(program, argv, cwd=folder, log=log)

    def step(
        self,
        program: str,
        parameters: dict[str, Any],
        paths: dict[str, Path | str],
        out: Path | None = None,
    ) -> Ran:
        """Run a step of the pipeline; ``out`` is a folder of an earlier run, or a fresh one."""
        out = out or self.fresh()
        spec = out / "spec.json"
        given = {name: str(path) for name, path in paths.items()}
        spec.write_text(json.dumps({"parameters": parameters, "paths": given}))
        return self.run(program, "--spec", spec, "--out", out, out=out)

    @contextmanager
    def serving(self, model: Path) -> Iterator[Scorer]:
        """A scoring process for a model; afterwards it is gone."""
        folder = self.fresh()
        port = folder / "port"
        running = self._do(self._start("score.py", folder, ["--model", model, "--port-file", port]))
        try:
            until(lambda: port.exists() or not running.running, "the model is loaded")
            assert port.exists(), (folder / "log.txt").read_text()
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port.read_text()}", trust_env=False, timeout=60
            ) as http:
                yield Scorer(http, folder / "log.txt")
        finally:
            self._do(running.stop())


@dataclass(frozen=True)
class Scorer:
    """A running scoring process."""

    http: httpx.Client
    log: Path

    def post(self, conversations: Any, **parameters: Any) -> httpx.Response:
        data = {"input_string": conversations, "parameters": parameters}
        return self.http.post("/score", json={"input_data": data, "params": {}})

    def answer(self, question: str, **parameters: Any) -> str:
        """The answer to a conversation of one question."""
        response = self.post([[{"role": "user", "content": question}]], **parameters)
        assert response.status_code == 200, response.text
        return str(response.json()["output"])


def talk(question: str, answer: str) -> Conversation:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def write_rows(path: Path, conversations: list[Conversation]) -> Path:
    """A JSON Lines file in the schema of the tutorial's data."""
    rows = [
        {"prompt": one[0]["content"], "messages": one, "prompt_id": str(number)}
        for number, one in enumerate(conversations)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
