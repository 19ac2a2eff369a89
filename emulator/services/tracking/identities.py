"""Azure's run and experiment ids, and MLflow's own: translated in both directions."""

import re
from typing import Any

from emulator.store import Store

RUN_KIND = "tracking_run"
EXPERIMENT_KIND = "tracking_experiment"
RUN_KEYS = ("run_id", "run_uuid", "run_ids", "source_run_id")
EXPERIMENT_KEYS = ("experiment_id", "experiment_ids")
RUN_FILTER = re.compile(r"((?:attributes?\.)?run_id\s*=\s*)(['\"])([^'\"]+)\2")


class Identities:
    """Azure's ids and MLflow's. What is in neither table is the same on both sides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._inward: dict[str, dict[str, str]] = {RUN_KIND: {}, EXPERIMENT_KIND: {}}
        self._outward: dict[str, dict[str, str]] = {RUN_KIND: {}, EXPERIMENT_KIND: {}}
        for kind in (RUN_KIND, EXPERIMENT_KIND):
            for row in store.list(kind):
                self._remember(kind, row["azure"], row["mlflow"])

    def learn(self, kind: str, azure: str, mlflow: str, status: str | None = None) -> None:
        """Remember that the two are one; ``status`` is what MLflow was last told of a run."""
        self._store.put(kind, azure, {"azure": azure, "mlflow": mlflow, "status": status})
        self._remember(kind, azure, mlflow)

    def mlflow(self, kind: str, azure: str) -> str | None:
        return self._inward[kind].get(azure)

    def inward(self, value: Any) -> Any:
        """A request with MLflow's ids in the place of Azure's."""
        return self._translated(value, self._inward)

    def outward(self, value: Any) -> Any:
        """An answer with Azure's ids in the place of MLflow's."""
        return self._translated(value, self._outward)

    def _remember(self, kind: str, azure: str, mlflow: str) -> None:
        self._inward[kind][azure] = mlflow
        self._outward[kind][mlflow] = azure

    def _translated(self, value: Any, tables: dict[str, dict[str, str]], key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._translated(inner, tables, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._translated(inner, tables, key) for inner in value]
        if key == "filter" and isinstance(value, str):
            runs = tables[RUN_KIND]
            return RUN_FILTER.sub(lambda m: f"{m[1]}'{runs.get(m[3], m[3])}'", value)
        if key in RUN_KEYS:
            return tables[RUN_KIND].get(value, value)
        if key in EXPERIMENT_KEYS:
            return tables[EXPERIMENT_KIND].get(value, value)
        return value
