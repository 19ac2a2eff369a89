"""``make audit``: licences and known vulnerabilities of what the lock installs.

Licences come from pip-licenses, which reads the installed packages' own metadata; vulnerabilities
from pip-audit, which asks the package index about every name in the lock and so needs a network.
Exit code 1 where a licence
is unknown or not in the accepted families, a vulnerability is known, or a package was not audited.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from typing import Any

from deployments.local_stack import ROOT

LOCK = ROOT / "requirements.lock"
#: Families that an application run by its own organisation may depend on, by words in their names.
ACCEPTED = re.compile(
    r"\b(mit|0?bsd|apache|isc|psf|python software|mpl|mozilla|unlicense|zlib|hpnd|lgpl|cc0|zpl)\b",
    re.IGNORECASE,
)
#: Packages whose metadata does not say, or not one of these, looked up in their sources by hand.
KNOWN = {
    "huey": "MIT",
    "skops": "MIT",
    "text-unidecode": "Artistic licence, or GPL at the user's choice",
}


def locked() -> list[str]:
    """Return the names in the lock."""
    return [line.split("==")[0] for line in LOCK.read_text().split()]


def licences() -> dict[str, str]:
    """Return each locked and installed package's licence, in its own words' first line."""
    command = [sys.executable, "-m", "piplicenses", "--format", "json", "--with-system"]
    done = subprocess.run(
        [*command, "--packages", *locked()], capture_output=True, text=True, check=True
    )
    return {row["Name"]: row["License"].splitlines()[0] for row in json.loads(done.stdout)}


def unaccepted(licences: dict[str, str]) -> dict[str, str]:
    """Return the packages whose licence somebody has to look at."""
    return {
        name: said
        for name, said in licences.items()
        if not ACCEPTED.search(said) and name not in KNOWN
    }


def known_vulnerabilities() -> dict[str, Any]:
    """Return pip-audit's report on the locked versions: a list ``dependencies``.

    Raises:
        RuntimeError: it did not report, in its own words.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--format", "json"]
    done = subprocess.run(
        [*command, "--no-deps", "--disable-pip", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
    )
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise RuntimeError(done.stderr.strip()[-500:] or "pip-audit said nothing") from None


def problems(report: dict[str, Any]) -> list[str]:
    """Return a line for each known vulnerability, and one for what could not be looked up.

    A package that the index did not answer for is not a package without vulnerabilities.
    """
    dependencies = report["dependencies"]
    found = [
        f"VULNERABLE: {one['name']} {one['version']}: {flaw['id']}"
        f" (fixed in {', '.join(flaw['fix_versions']) or 'no version yet'})"
        for one in dependencies
        for flaw in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in dependencies if one.get("skip_reason")]
    if skipped:
        found.append(
            f"NOT AUDITED: {len(skipped)} of {len(dependencies)} packages, for example "
            f"{', '.join(skipped[:3])}: the package index here does not answer for them."
        )
    return found


def main(argv: list[str]) -> int:
    """Print licences, then vulnerabilities; 1 where there is something to look at."""
    parser = argparse.ArgumentParser(prog="python -m deployments.audit", description=__doc__)
    parser.parse_args(argv)  # it takes none
    said = {name: KNOWN.get(name, text) for name, text in licences().items()}
    print("\n".join(f"{name:40} {text}" for name, text in said.items()))
    look = [f"LOOK AT: {name}: {text}" for name, text in unaccepted(said).items()]
    try:
        look += problems(known_vulnerabilities())
    except RuntimeError as error:
        look.append(f"NOT AUDITED: {error}")
    print("\n".join(look) or "No known vulnerability, and no licence that is not accepted.")
    return 1 if look else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
