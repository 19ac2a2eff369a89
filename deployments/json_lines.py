"""Logs as JSON lines that carry the ids by which a run is searched for: Prefect's and Azure's.

Prefect builds this formatter while it starts, by the variables in ``JSON_LOGS``; so nothing of
Prefect is imported before the first line is written.
"""

from __future__ import annotations

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

#: Set these in a worker's environment; run and job then share their ids in every line.
JSON_LOGS = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "deployments.json_lines.JsonLines",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
}
OF_PREFECT = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name", "flow_name")
FIELDS = ("levelname", "name", "message", *OF_PREFECT)
RENAMED = {"levelname": "level", "name": "logger", "exc_info": "exception"}


class JsonLines(JsonFormatter):
    """One JSON object a line: time, level, logger, message, ids, and the traceback if any."""

    def __init__(self, *_: Any, **__: Any) -> None:
        # Prefect's configuration hands over a format for its own formatter.
        super().__init__(FIELDS, timestamp="time", rename_fields=RENAMED, json_ensure_ascii=False)

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Put the names on Azure beside the record's own fields, of which the empty ones go."""
        super().add_fields(log_data, record, message_dict)
        shown = {*RENAMED.values(), *FIELDS, "time"}
        for name in [name for name, value in log_data.items() if name not in shown or not value]:
            del log_data[name]
        log_data["message"] = record.getMessage()  # the library takes a logged mapping apart
        log_data.update(_of_azure())


def _of_azure() -> dict[str, str]:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or "run" not in run.parameters:
        return {}
    from flows.lifecycle.events import names_on_azure

    return names_on_azure(run)
