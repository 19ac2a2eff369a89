"""The only place that starts or stops a process.

Every process runs on a leash (see ``leash.py``): it has a session of its own and an environment
made from a short list, and it goes when the emulator goes, also when that is killed by SIGKILL.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

LEASH = Path(__file__).with_name("leash.py")
PRELOAD = Path(__file__).with_name("preload.py")

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


class Leash(Protocol):
    """What holds a program: our end of its pipes, and its exit code."""

    @property
    def returncode(self) -> int | None: ...
    @property
    def stdin(self) -> Any: ...
    @property
    def stdout(self) -> Any: ...
    async def wait(self) -> int: ...


class ForkedLeash:
    """A leash that the preloader forked; its pipes are one connection (see ``preload.py``)."""

    def __init__(self, stdout: asyncio.StreamReader, stdin: asyncio.StreamWriter) -> None:
        self.stdout = stdout
        self.stdin = stdin
        self.returncode: int | None = None
        self._ended: asyncio.Task[int] | None = None

    async def wait(self) -> int:
        """The program's exit code, which is the last line of the connection."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._read_code())
        return await asyncio.shield(self._ended)

    async def _read_code(self) -> int:
        try:
            line = await self.stdout.readline()
        except ConnectionError:
            line = b""
        self.returncode = int(line) if line.strip().isdigit() else 128 + 9  # it was killed
        self.stdin.close()
        return self.returncode


class Running:
    """A started process. ``pid`` is the program's own pid, and its process group's."""

    def __init__(self, name: str, pid: int, leash: "Leash") -> None:
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
        if self._leash.stdin is None or self._leash.stdin.is_closing():
            return
        if isinstance(self._leash, ForkedLeash):
            self._leash.stdin.write_eof()  # the exit code still comes the other way
        else:
            self._leash.stdin.close()


class Processes:
    """All processes of one emulator. ``folder`` is their home and holds their temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: set[Running] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._closing = False
        self._scripts: Path | None = None
        self._socket = folder / "preload"

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
        values = self._environment(env or {})
        forked = await self._forked(argv, cwd, log, values)
        leash: Leash = forked or await self._spawned(argv, cwd, log, values)
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
        if self._scripts is not None:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def alive(self) -> list[str]:
        """Names of the programs that run now; the preloader is none."""
        return sorted(p.name for p in self._running if p.running and p.name != "preload")

    async def preload(self, scripts: Path) -> None:
        """From now on start the Python scripts of this folder from a process with their libraries.

        Until that process is ready, and should it die, they are started the slower way.
        """
        self._socket = Path(tempfile.mkdtemp(prefix="emulator-")) / "preload"
        self._scripts = scripts
        argv = [sys.executable, str(PRELOAD), str(self._socket)]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        quiet["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is loaded; spinning costs a core
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "preload.log"
        await self.start("preload", argv, cwd=self.folder, log=log, env=quiet)

    async def _forked(
        self, argv: list[str], cwd: Path, log: Path, env: Mapping[str, str]
    ) -> ForkedLeash | None:
        """The program, forked from the preloader; None if that cannot be."""
        mine = self._scripts is not None and argv[0] == sys.executable
        if not mine or Path(argv[1]).parent != self._scripts or not self._socket.exists():
            return None
        try:
            stdout, stdin = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            return None
        asked = {"log": str(log.absolute()), "cwd": str(cwd), "env": dict(env), "argv": argv}
        stdin.write(json.dumps(asked).encode() + b"\n")
        return ForkedLeash(stdout, stdin)

    async def _spawned(
        self, argv: list[str], cwd: Path, log: Path, env: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LEASH), str(log.absolute()), *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=cwd,
            env=env,
            start_new_session=True,  # a Ctrl-C at the terminal is the emulator's to handle
        )  # fmt: skip

    async def _pid(self, name: str, leash: Leash) -> int:
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
