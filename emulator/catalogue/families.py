"""VM families under the names by which usages and quotas list them.

Sizes name a family by its id (``standardNDSv2Family``), usages in words ("Standard NDv2 Family
Cluster Dedicated vCPUs"). The two differ in more than spaces; names in words are those of
azure-rest-api-specs (machinelearningservices, stable/2024-04-01, examples/Usage/list.json) and, for
the families that it lacks, of Microsoft's list of sizes for managed online endpoints and of the
studio's quota page.
"""

#: Families whose name in words is not their id with spaces.
IN_WORDS = {
    "standardNCSv3Family": "Standard NCv3 Family",
    "standardNDSv2Family": "Standard NDv2 Family",
    "standardNDAMSv4_A100Family": "Standard NDAMSv4_A100Family",
}


def family_in_words(family: str) -> str:
    """``Standard DSv2 Family`` for ``standardDSv2Family``."""
    inner = family.removeprefix("standard").removesuffix("Family")
    return IN_WORDS.get(family, f"Standard {inner} Family")


def vcpus_of(family: str, *, dedicated: bool) -> str:
    """The name of the row that counts a family's vCPUs."""
    kind = "Dedicated" if dedicated else "LowPriority"
    return f"{family_in_words(family)} Cluster {kind} vCPUs"
