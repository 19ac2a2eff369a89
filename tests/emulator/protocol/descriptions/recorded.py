"""Exchanges as the real clients have them on the wire, each held against the descriptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from emulator.protocol.descriptions import AZURE, IDENTITY, STORAGE, Violation, find


@dataclass(frozen=True)
class Finding:
    """One violation, and the exchange that has it; ``operation`` is a name of the descriptions."""

    operation: str
    side: str
    violation: Violation
    exchange: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.side}): {self.violation} [{self.exchange}]"


@dataclass
class Recorder:
    """What was seen: how many exchanges were checked, which ones nobody describes."""

    checked: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def see(self, sent: requests.PreparedRequest, answer: requests.Response) -> None:
        url, method = urlsplit(str(sent.url)), str(sent.method)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        service = _service(str(url.hostname), url.path)
        operation = find(method, url.path, query, service=service)
        exchange = f"{method} {url.path}?api-version={query.get('api-version')}"
        if operation is None:
            self.unknown.append(f"{answer.status_code} {exchange}")
            return
        self.checked[operation.name] = self.checked.get(operation.name, 0) + 1
        headers = {name: _text(value) for name, value in sent.headers.items()}
        body = None if service == STORAGE else _json(sent.body)
        for one in operation.check_request(query, headers, body):
            self.findings.append(Finding(operation.name, "request", one, exchange))
        told = None if service == STORAGE else _json(answer.content)
        for one in operation.check_response(answer.status_code, answer.headers, told):
            told_at = f"{answer.status_code} {exchange}"
            self.findings.append(Finding(operation.name, "answer", one, told_at))


def _service(host: str, path: str) -> str:
    if ".blob." in host:
        return STORAGE
    return IDENTITY if path == "/msi/token" else AZURE


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(content: Any) -> Any:
    if not isinstance(content, str | bytes) or not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return _text(content)  # no description has a body of plain text


@contextmanager
def recording() -> Iterator[Recorder]:
    """Watch everything that goes through ``requests``, which all of Azure's clients use."""
    recorder, send = Recorder(), requests.adapters.HTTPAdapter.send

    def watched(self: Any, request: Any, stream: bool = False, **options: Any) -> Any:
        answer = send(self, request, stream=stream, **options)
        recorder.see(request, answer)
        return answer

    requests.adapters.HTTPAdapter.send = watched  # type: ignore[method-assign, assignment]
    try:
        yield recorder
    finally:
        requests.adapters.HTTPAdapter.send = send  # type: ignore[method-assign]
