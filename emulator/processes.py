"""The only place that starts or stops a process.

Every process runs on a leash (see ``leash.py``): it has a session of its own and an environment
made from a short list, and it goes when the emulator goes, also when that is killed by SIGKILL.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")

# What a program needs to run at all. No proxy, no token, no setting of who started the emulator.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")


class ProcessNotStarted(RuntimeError):
    """A program could not be started; ``reason`` is the operating system's."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"Process '{self.name}' could not be started: {self.reason}."


class Running:
    """A started process. ``pid`` is the program's own pid, and its process group's."""

    def __init__(self, name: str, pid: int, leash: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = pid
        self.started = time.time()
        self._leash = leash

    @property
    def running(self) -> bool:
        return self._leash.returncode is None

    async def wait(self) -> int:
        """The exit code; 128 + n when signal n ended it."""
        return await self._leash.wait()

    async def stop(self, grace_s: float = 5.0) -> int:
        """Terminate, wait up to ``grace_s`` seconds, kill the whole process group; the exit code.

        Safe to repeat, and harmless on a process that has ended.
        """
        self._order(b"T")
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            self._release()
            return await self.wait()

    def _order(self, order: bytes) -> None:
        leash = self._leash.stdin
        if leash is not None and not leash.is_closing():
            leash.write(order)

    def _release(self) -> None:
        if self._leash.stdin is not None:
            self._leash.stdin.close()


class Processes:
    """All processes of one emulator. ``folder`` is their home and holds their temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: set[Running] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(
        self,
        name: str,
        argv: list[str],
        *,
        cwd: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """Start ``argv``; stdout and stderr go to the end of ``log``; ``env`` is added to the list.

        Raises ProcessNotStarted: no such program or folder, or everything is being stopped.
        """
        if self._closing:
            raise ProcessNotStarted(name, "the emulator is stopping")
        if not cwd.is_dir():
            raise ProcessNotStarted(name, f"its folder {cwd} does not exist")
        log.parent.mkdir(parents=True, exist_ok=True)
        leash = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LEASH), str(log.absolute()), *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=cwd,
            env=self._environment(env or {}),
            start_new_session=True,  # a Ctrl-C at the terminal is the emulator's to handle
        )  # fmt: skip
        running = Running(name, await self._pid(name, leash), leash)
        self._running.add(running)
        watcher = asyncio.create_task(self._forget_when_done(running))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        if self._closing:  # while we were starting it
            await running.stop()
        return running

    async def stop_all(self) -> None:
        """Stop every process, all at once, and refuse new ones from now on."""
        self._closing = True
        await asyncio.gather(*(running.stop() for running in list(self._running)))
        await asyncio.gather(*self._watchers)

    def alive(self) -> list[str]:
        """Names of the processes that run now."""
        return sorted(running.name for running in self._running if running.running)

    async def _pid(self, name: str, leash: asyncio.subprocess.Process) -> int:
        assert leash.stdout is not None
        answer = (await leash.stdout.readline()).decode().strip()
        if answer.isdigit():
            return int(answer)
        await leash.wait()
        raise ProcessNotStarted(name, answer.removeprefix("!") or "the supervisor died")

    async def _forget_when_done(self, running: Running) -> None:
        await running.wait()
        running._release()
        self._running.discard(running)

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        home = self.folder / "home"
        scratch = self.folder / "tmp"
        for folder in (home, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        kept = {key: os.environ[key] for key in INHERITED if key in os.environ}
        own = {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
        return {**kept, **own, **extra}
