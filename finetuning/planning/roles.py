"""The roles and the table of rights in ``docs/``, as the table of actions says them.

``python -m finetuning.planning.roles`` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from finetuning.planning.report import table
from finetuning.planning.rules.rights import RIGHTS, Right, Scope

DOCS = Path("docs")
BEGIN, END = "<!-- rights -->\n", "<!-- end of rights -->"
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
#: The file, name and description of the role for each scope.
ROLES: dict[Scope, tuple[str, str, str]] = {
    "workspace": (
        "azure-role.json",
        "Fine-tune runner",
        "Submits fine-tuning jobs, registers their models, serves them for a test, and removes "
        "what it made. To be assigned on the workspace.",
    ),
    "subscription": (
        "azure-role-region.json",
        "Fine-tune region reader",
        "Reads the region's sizes and quota and the states of operations. To be assigned on the "
        "subscription.",
    ),
}


def role_text(scope: Scope) -> str:
    """Return the role of one scope as ``az role definition create`` takes it."""
    _, name, description = ROLES[scope]
    role = {
        "Name": name,
        "IsCustom": True,
        "Description": description,
        "Actions": [right.action for right in in_role(scope)],
        "NotActions": [],
        "DataActions": [],
        "NotDataActions": [],
        "AssignableScopes": [SUBSCRIPTION],
    }
    return json.dumps(role, indent=2) + "\n"


def in_role(scope: Scope) -> list[Right]:
    """Return the actions of a scope's role; creating clusters is left to an administrator."""
    return [one for one in RIGHTS if one.scope == scope and one.when != "creates a cluster"]


def rights_table() -> str:
    """Return every action as a table, in markdown."""
    rows = [[f"`{one.action}`", one.purpose, one.scope, one.when] for one in RIGHTS]
    return table(["action", "to", "scope", "when"], rows)


def with_table(text: str) -> str:
    """Return the guide's text with the table of rights between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{rights_table()}\n{END}{rest.split(END)[1]}"


def main(docs: Path = DOCS) -> None:
    """Write the roles' files, and the table into the guide."""
    for scope, (file, _, _) in ROLES.items():
        (docs / file).write_text(role_text(scope), encoding="utf-8")
    guide = docs / "azure.md"
    guide.write_text(with_table(guide.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
