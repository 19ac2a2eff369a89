"""A command on its node: code, inputs and outputs in folders, and what is kept of them.

Source: MicrosoftDocs/azure-ai-docs: how-to-read-write-data-v2.md (modes),
how-to-save-write-experiment-files.md (``outputs`` and ``logs``).
"""

import asyncio
import shutil
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.services.jobs.expressions import resolved

#: Folders of a program's own that are kept among the run's artifacts.
KEPT = ("outputs", "logs")
Find = Callable[[str], Awaitable[Path]]


class NotStaged(ValueError):
    """An input or output cannot be had; the text is what the service says."""


@dataclass(frozen=True)
class Staged:
    """A command that can be started in ``cwd``; ``uploads`` are copied when it has completed."""

    text: str
    cwd: Path
    variables: dict[str, str]
    uploads: tuple[tuple[Path, Path], ...]


async def stage(
    command: Mapping[str, Any], folder: Path, find: Find, target: Callable[[str], Path]
) -> Staged:
    """Put everything in its place below ``folder``, which is new.

    ``find`` answers where an address is, ``target`` where an output's address will be. Raises
    NotStaged, and what ``find`` and ``target`` raise.
    """
    cwd = folder / "wd"
    if command["code"]:
        await asyncio.to_thread(_copy, await find(command["code"]), cwd)
    (cwd / "outputs").mkdir(parents=True, exist_ok=True)
    inputs = {
        name: await _input(name, one, folder / f"INPUT_{name}", find)
        for name, one in command["inputs"].items()
    }
    outputs, uploads = {}, []
    for name, one in command["outputs"].items():
        place = Path(target(one["uri"]))
        outputs[name] = _output(one, place, folder / f"OUTPUT_{name}")
        if one["mode"] == "upload":
            uploads.append((Path(outputs[name]), place))
    data = {name for name, one in command["inputs"].items() if one["type"] != "literal"}
    variables = {f"AZURE_ML_INPUT_{name}": inputs[name] for name in sorted(data)}
    variables |= {f"AZURE_ML_OUTPUT_{name}": value for name, value in outputs.items()}
    text = resolved(command["command"], inputs, outputs)
    return Staged(text, cwd, variables, tuple(uploads))


async def _input(name: str, given: Mapping[str, Any], place: Path, find: Find) -> str:
    """The value that a program sees of an input."""
    if given["type"] == "literal":
        return str(given["value"])
    if given["mode"] == "direct":
        return str(given["uri"])
    source = await find(given["uri"])
    is_file = given["type"] == "uri_file"
    if source.is_file() != is_file:
        there = "a file" if source.is_file() else "a folder"
        raise NotStaged(f"Input '{name}' is {given['type']}, and {there} is at '{given['uri']}'.")
    if given["mode"] == "readwritemount":
        return str(source)
    if is_file:
        place.mkdir(parents=True)
        place = place / source.name
    await asyncio.to_thread(_copy, source, place)
    if given["mode"] == "readonlymount":
        await asyncio.to_thread(_protect, place)
    return str(place)


def _copy(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def _protect(place: Path) -> None:
    """Take the right to write from a file, or from all files of a folder."""
    files = place.rglob("*") if place.is_dir() else (place,)
    for file in files:
        if file.is_file():
            file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)


def _output(given: Mapping[str, Any], place: Path, own: Path) -> str:
    """The path (or, mode direct, the address) that a program is given of an output."""
    if given["mode"] == "direct":
        return str(given["uri"])
    path = place if given["mode"] == "readwritemount" else own
    folder = path.parent if given["type"] == "uri_file" else path
    folder.mkdir(parents=True, exist_ok=True)
    return str(path)


def upload(staged: Staged) -> None:
    """Copy what was made where the outputs' addresses are."""
    for made, place in staged.uploads:
        if made.exists():
            _copy(made, place)


def keep(staged: Staged, artifacts: Path) -> None:
    """Copy the program's ``outputs`` and ``logs`` among the run's artifacts."""
    for name in KEPT:
        folder = staged.cwd / name
        if folder.is_dir() and any(folder.iterdir()):
            _copy(folder, artifacts / name)
