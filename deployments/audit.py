"""``make audit``: licences and known vulnerabilities of what the lock installs.

Licences come from the installed packages' own metadata; vulnerabilities from pip-audit, which asks
the package index about every name in the lock and so needs a network. Exit code 1 where a licence
is unknown or not in the accepted families, or a vulnerability is known.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

from deployments.local_stack import ROOT

LOCK = ROOT / "requirements.lock"
#: Families that an application run by its own organisation may depend on, by words in their names.
ACCEPTED = re.compile(
    r"mit|bsd|apache|isc|psf|python software|mpl|mozilla|unlicense|zlib|0bsd|hpnd|lgpl|cc0|zpl",
    re.IGNORECASE,
)
#: Packages whose metadata does not say, looked up in their sources by hand.
KNOWN = {
    "azureml-mlflow": "Microsoft's Azure ML SDK licence (proprietary, free to use with Azure)",
    "huey": "MIT",
    "skops": "MIT",
    "text-unidecode": "Artistic licence, or GPL at the user's choice",
}


def locked() -> list[str]:
    """Return the names in the lock."""
    return [line.split("==")[0] for line in LOCK.read_text().split()]


def licence(name: str) -> str:
    """Return a package's licence in its own words; empty where it does not say."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    classified = [
        value.rsplit(" :: ", 1)[-1]
        for value in about.get_all("Classifier") or []
        if value.startswith("License ::") and value != "License :: OSI Approved"
    ]
    given = [*(about.get_all("License-Expression") or []), ", ".join(classified)]
    said = next((one for one in [*given, *(about.get_all("License") or [])] if one), "")
    return said.strip().splitlines()[0][:60] if said.strip() else KNOWN.get(name, "")


def unaccepted(licences: dict[str, str]) -> dict[str, str]:
    """Return the packages whose licence somebody has to look at."""
    return {
        name: said or "unknown"
        for name, said in licences.items()
        if not (ACCEPTED.search(said) or name in KNOWN or said == "not installed here")
    }


def vulnerabilities() -> int:
    """Print what is known against the locked versions; pip-audit's exit code."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)]
    return subprocess.run([*command, "--no-deps", "--disable-pip", "--desc", "off"]).returncode


def main() -> int:
    """Print licences, then vulnerabilities."""
    licences = {name: licence(name) for name in locked()}
    for name, said in licences.items():
        print(f"{name:40} {said or 'unknown'}")
    look = unaccepted(licences)
    for name, said in look.items():
        print(f"LOOK AT: {name}: {said}")
    return 1 if vulnerabilities() or look else 0


if __name__ == "__main__":
    sys.exit(main())
