"""Logs as JSON lines that carry the ids by which a run is searched for: Prefect's and Azure's.

Prefect builds this formatter while it starts, by the variables in ``JSON_LOGS``; so nothing of
Prefect is imported before the first line is written.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

#: Set these in a worker's environment; run and job then share their ids in every line.
JSON_LOGS = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "deployments.json_lines.JsonLines",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
}
OF_PREFECT = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name", "flow_name")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, ids, and the traceback if any."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()  # Prefect's configuration hands over a format for its own formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        given = {name: getattr(record, name, None) for name in OF_PREFECT}
        line |= {name: str(value) for name, value in given.items() if value}
        line |= _of_azure()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _of_azure() -> dict[str, str]:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or "run" not in run.parameters:
        return {}
    from flows.lifecycle.events import names_on_azure

    return names_on_azure(run)
