"""What findings say, as a test compares it."""

from __future__ import annotations

from finetuning.planning.findings import Finding, errors


def errors_of(findings: list[Finding]) -> list[str]:
    """Return the errors as their texts."""
    return [str(one) for one in errors(findings)]
