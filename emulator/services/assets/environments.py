"""Environments: what they ask for, and what of it this machine has not.

There are no containers here. A job's program runs on the emulator's own Python with the packages
that are installed for it. Whatever an environment asks beyond that cannot be made: on Azure that is
found out when the image is built, at the job's start, and so it is here.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from emulator.protocol.errors import ArmError

#: Images that hold an operating system, or one Python, and no packages: the emulator's own Python
#: can stand for them. Azure ML's list: MicrosoftDocs/azure-ai-docs: concept-prebuilt-docker-images,
#: Azure/AzureML-Containers: base.
BASE_IMAGE = re.compile(
    r"mcr\.microsoft\.com/azureml/(openmpi|intelmpi|minimal|base|inference-base)[\w.\-]*(:[\w.\-]+)?"
)
PYTHON_IMAGE = re.compile(
    r"(?:docker\.io/)?(?:library/)?python(?::(?P<version>\d+(?:\.\d+)*)?(?:-?[a-z][\w.\-]*)?)?"
)
CONDA_PACKAGE = re.compile(
    r"(?:[\w.\-/]+::)?(?P<name>[A-Za-z0-9_.\-]+)\s*(?P<rule>[=<>!~ ].*)?", re.DOTALL
)
#: What installs packages; no program asks for it at run time.
INSTALLERS = ("pip", "setuptools", "wheel")


def check(properties: dict[str, Any]) -> None:
    """Raises ArmError 400: an environment without an image or a build, or with both."""
    given = [name for name in ("image", "build") if properties.get(name)]
    if len(given) != 1:
        text = "An environment has an image or a build context, one of the two."
        raise ArmError(400, "UserError", text)


def shown(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties with what the service adds."""
    system = str(properties.get("osType") or "Linux").capitalize()
    return {"autoRebuild": "Disabled", "environmentType": "UserCreated", **properties} | {
        "osType": system
    }


def lacking(properties: dict[str, Any]) -> list[str]:
    """What the environment asks and this machine has not, in words; empty where it can run."""
    return list(_lacking(properties))


def _lacking(properties: dict[str, Any]) -> Iterator[str]:
    if build := properties.get("build"):
        yield f"a build context ({build.get('contextUri')})"
    if str(properties.get("osType") or "Linux").lower() != "linux":
        yield f"the operating system {properties['osType']}"
    yield from _of_image(str(properties.get("image") or ""))
    if conda := properties.get("condaFile"):
        yield from _of_conda(str(conda))


def _of_image(image: str) -> Iterator[str]:
    if not image or BASE_IMAGE.fullmatch(image):
        return
    python = PYTHON_IMAGE.fullmatch(image)
    if python is None:
        yield f"the image {image}"
    elif python["version"] and not _is_python(f"=={python['version']}.*"):
        yield f"the image {image} (here is Python {_python()})"


def _of_conda(text: str) -> Iterator[str]:
    try:
        asked = yaml.safe_load(text)
        entries = list(asked.get("dependencies") or [])
    except (yaml.YAMLError, AttributeError, TypeError):
        yield "a conda file that is not one"
        return
    for entry in entries:
        if isinstance(entry, dict):
            for line in entry.get("pip") or []:
                yield from _of_pip(str(line).strip())
        else:
            yield from _of_package(str(entry).strip())


def _of_package(text: str) -> Iterator[str]:
    """A conda package: ``numpy``, ``conda-forge::numpy=1.26``, ``python>=3.10``."""
    match = CONDA_PACKAGE.fullmatch(text)
    rule = _as_pip((match["rule"] or "").strip()) if match else None
    if match is None or rule is None:
        yield f"the conda package {text}"
    elif match["name"].lower() == "python":
        if not _is_python(rule):
            yield f"the conda package {text} (here is Python {_python()})"
    elif match["name"].lower() not in INSTALLERS:
        yield from _of_requirement(match["name"], rule, f"the conda package {text}")


def _as_pip(rule: str) -> str | None:
    """A conda version rule as pip writes it; None for one that pip cannot say (builds, ``|``)."""
    if not rule:
        return ""
    bare = re.fullmatch(r"=?\s*([\w.!+]+?)(\.?\*)?", rule)
    if bare:  # one equals sign, or none: anything that begins so
        return f"=={bare[1]}.*"
    if "|" in rule or re.search(r"=[^=<>]+=", rule.replace("==", "")):
        return None
    try:
        SpecifierSet(rule.replace(" ", ""))
    except InvalidSpecifier:
        return None
    return rule.replace(" ", "")


def _of_pip(line: str) -> Iterator[str]:
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        yield f"the pip line {line}"  # an option, a file, a repository
        return
    if wanted.url:
        yield f"the pip line {line}"
    elif (wanted.marker is None or wanted.marker.evaluate()) and wanted.name not in INSTALLERS:
        yield from _of_requirement(wanted.name, str(wanted.specifier), f"the pip package {line}")


def _of_requirement(name: str, rule: str, told: str) -> Iterator[str]:
    try:
        here = metadata.version(name)
    except metadata.PackageNotFoundError:
        yield f"{told} (not installed here)"
        return
    if not _holds(rule, here):
        yield f"{told} (here is {here})"


def _holds(rule: str, version: str) -> bool:
    return SpecifierSet(rule).contains(version, prereleases=True)


def _is_python(rule: str) -> bool:
    return _holds(rule, _python())


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])
