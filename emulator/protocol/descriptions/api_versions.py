"""Api-versions: which ones Azure's provider has for a type of resource, and what ARM says else."""

import re
from functools import cache

from emulator.protocol.descriptions import files
from emulator.protocol.descriptions.violations import Violation

PLANE = "provider"
FORM = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]+)?")
PROVIDER = re.compile(r"/providers/Microsoft\.MachineLearningServices/(.*)$", re.IGNORECASE)


@cache
def known(template: str) -> frozenset[str]:
    """The api-versions in which the resource of a path exists: ``workspaces/onlineEndpoints``."""
    about = files.content(PLANE, "api_versions")
    versions = list(about["versions"])
    match = PROVIDER.search(template)
    words = match[1].split("/")[::2] if match else []
    while words:
        if (kind := "/".join(words)) in about["since"]:
            return frozenset(versions[versions.index(about["since"][kind]) :])
        words.pop()
    return frozenset(versions)


def check(given: str | None, known: frozenset[str] | set[str]) -> list[Violation]:
    """ARM's own refusals, which come before anything of the provider's."""
    if not given:
        told = "every request names an api-version"
        return [Violation("query.api-version", "missing", told, "MissingApiVersionParameter")]
    if given in known:
        return []
    code = "NoRegisteredProviderFound" if FORM.fullmatch(given) else "InvalidApiVersionParameter"
    told = f"the supported api-versions are {', '.join(sorted(known))}"
    return [Violation("query.api-version", f"the string {given!r}", told, code)]
