"""``fine-tune prices``: the table that plans and budgets are reckoned with."""

from __future__ import annotations

import sys
from typing import Any

from finetuning.errors import SettingsError
from finetuning.planning.prices import load_prices
from flows.lifecycle.environment import use_env_file


def price_table() -> dict[str, Any]:
    """Return the table, with the user's own entries over the shipped ones.

    Raises:
        SystemExit: the user's file is wrong; says how.
    """
    use_env_file()
    try:
        return load_prices().model_dump(mode="json")
    except SettingsError as error:
        sys.exit(str(error))


def as_text(table: dict[str, Any]) -> str:
    """Return it for a person: a size a line, the dearest last."""
    sizes = sorted(table["sizes"].items(), key=lambda one: one[1]["per_hour"])
    lines = [f"{one['per_hour']:>9.3f}  {name}" for name, one in sizes]
    head = f"{table['currency']} an hour, {table['source']}, {table['date']}"
    share = f"Low-priority nodes cost {table['low_priority_share']:.0%} of it."
    return "\n".join([head, *lines, share])
