"""One command from its environment to its outputs; the runner says what becomes of the record."""

import asyncio
import shlex
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from emulator.processes.children import Processes, Running
from emulator.services.assets.addresses import Locations
from emulator.services.assets.environments import lacking
from emulator.services.assets.versions import Assets
from emulator.services.jobs import records, staging
from emulator.services.jobs.records import Record
from emulator.services.jobs.staging import Staged
from emulator.services.storage.blobs import Storage

SHELL = "/bin/bash"


@dataclass(frozen=True)
class CommandRuns:
    """What commands run with. ``variables`` are those of a run's program, by its record."""

    assets: Assets
    storage: Storage
    locations: Locations
    processes: Processes
    variables: Callable[[Record], dict[str, str]]

    def lacking(self, record: Record) -> list[str]:
        """What the environment asks and this machine has not; empty where it can run."""
        name, version = record["command"]["environment"].split("/")[-3::2]
        environment = self.assets.get("environments", name, version)
        if environment is None:
            return [f"the environment {name}:{version}, which was deleted"]
        return lacking(environment["properties"])

    async def stage(
        self, record: Record, folder: Path, find: Callable[[str], Awaitable[Path]]
    ) -> Staged:
        """Put code and data in their places. Raises what ``staging.stage`` raises."""
        if folder.exists():
            await asyncio.to_thread(shutil.rmtree, folder)
        folder.mkdir(parents=True)
        return await staging.stage(record["command"], folder, find, self.locations.path)

    async def start(self, record: Record, staged: Staged, log: Path, told: str = "") -> Running:
        """Start the program; ``told`` is what a fault lets it fail with, instead of running."""
        text = f"echo {shlex.quote(told)} >&2; exit 1" if told else staged.text
        return await self.processes.start(
            f"{record['root']}/{record['step'] or 'command'}",
            [SHELL, "-c", text],
            cwd=staged.cwd,
            log=log,
            env={**self.variables(record), **staged.variables},
        )

    async def upload(self, staged: Staged) -> None:
        """Copy what a program has made where its outputs' addresses are."""
        await asyncio.to_thread(staging.upload, staged)

    async def keep(self, record: Record, staged: Staged) -> None:
        """Copy what a program left in ``outputs`` and ``logs`` among the run's artifacts."""
        place = self.storage.path(records.ARTIFACTS, records.artifact_folder(record["name"]))
        await asyncio.to_thread(staging.keep, staged, place)


def program(staged: Staged) -> str:
    """The program that a command calls, as an error names it."""
    words = staged.text.split()
    return words[0] if words else SHELL
