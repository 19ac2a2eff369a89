"""The weights behind the registry's models: made once, by a program, when first needed."""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path

from emulator.processes.children import Processes


class NoBaseWeights(RuntimeError):
    """The program that makes the weights failed; ``said`` is its last line."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(code, said)
        self.code = code
        self.said = said

    def __str__(self) -> str:
        return (
            f"The registry model's weights could not be made (exit code {self.code}): {self.said}"
        )


@dataclass
class BaseWeights:
    """``kind`` is ``tiny`` or ``smollm2``; ``cache`` is shared by all emulators of this machine."""

    kind: str
    cache: Path
    program: Path
    processes: Processes
    log: Path
    _folder: Path | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def folder(self) -> Path:
        """The registry model's folder. Raises NoBaseWeights; a later call tries again."""
        async with self._lock:
            if self._folder is None or not self._folder.is_dir():
                self._folder = await self._make()
            return self._folder

    async def _make(self) -> Path:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        argv = [sys.executable, str(self.program), "--kind", self.kind, "--cache", str(self.cache)]
        running = await self.processes.start(
            "base weights", argv, cwd=self.log.parent, log=self.log
        )
        try:
            code = await running.wait()
        finally:
            await running.stop()
        said = last_line(self.log)
        if code != 0:
            raise NoBaseWeights(code, said)
        return Path(said)


def last_line(log: Path) -> str:
    """The last line of a log that is not blank; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
