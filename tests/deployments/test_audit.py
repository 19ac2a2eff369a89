"""The audit of the lock: what is known is named, and what was not asked is not called safe."""

from __future__ import annotations

from packaging.utils import canonicalize_name

from deployments.audit import ACCEPTED, KNOWN, licences, locked, problems, unaccepted


def report(**dependency: object) -> dict[str, object]:
    return {"dependencies": [{"name": "a-package", "version": "1.0", "vulns": [], **dependency}]}


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    flaw = {"id": "CVE-2026-0001", "fix_versions": ["1.1"]}

    (line,) = problems(report(vulns=[flaw]))

    assert line == "VULNERABLE: a-package 1.0: CVE-2026-0001 (fixed in 1.1)"


def test_a_package_that_was_not_looked_up_is_not_called_safe() -> None:
    (line,) = problems(report(skip_reason="not found"))

    assert line.startswith("NOT AUDITED: 1 of 1 packages, for example a-package")


def test_a_clean_report_has_no_problems() -> None:
    assert problems(report()) == []


def test_an_unknown_licence_is_looked_at() -> None:
    assert unaccepted({"a": "MIT", "b": "UNKNOWN", "c": "Proprietary", "huey": "UNKNOWN"}) == {
        "b": "UNKNOWN",
        "c": "Proprietary",
    }


def test_every_locked_package_says_its_licence_or_is_known_by_hand() -> None:
    found = licences()

    assert unaccepted(found) == {}
    assert set(KNOWN) <= set(found), "known by hand, and not in the lock any more"
    assert {canonicalize_name(name) for name in found} <= {
        canonicalize_name(name) for name in locked()
    }
    assert len(found) > 200


def test_what_is_known_by_hand_does_not_say_it_itself() -> None:
    found = licences()

    assert [name for name in KNOWN if ACCEPTED.search(found[name])] == []
