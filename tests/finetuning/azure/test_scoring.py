"""Asking an endpoint's own host, over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from azure.core.exceptions import HttpResponseError

from finetuning.azure.scoring import Scoring

Answer = tuple[int, dict[str, str]]


@contextmanager
def host(*answers: Answer) -> Iterator[tuple[Scoring, list[dict[str, str]]]]:
    """A host that answers so, one after the other, and what it was asked with."""
    seen: list[dict[str, str]] = []
    waiting = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append({**{k.lower(): v for k, v in self.headers.items()}, "body": str(asked)})
            status, headers = waiting.pop(0)
            content = json.dumps({"output": "Hello"}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        headers = {"Authorization": "Bearer key", "azureml-model-deployment": "demo"}
        yield Scoring(f"http://127.0.0.1:{server.server_address[1]}/score", headers), seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [408, 424, 429, 502, 503, 504])
def test_a_busy_endpoint_is_asked_again_after_what_it_says(status: int) -> None:
    with host((status, {"retry-after-ms": "20"}), (200, {})) as (scoring, seen):
        text, seconds = scoring.ask({"input_data": "Hi"})

    assert json.loads(text) == {"output": "Hello"}
    assert seconds > 0
    assert len(seen) == 2
    assert seen[1]["authorization"] == "Bearer key"
    assert seen[1]["azureml-model-deployment"] == "demo"


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_final(status: int) -> None:
    with host((status, {})) as (scoring, seen), pytest.raises(HttpResponseError) as refused:
        scoring.ask({"input_data": "Hi"})

    assert refused.value.status_code == status
    assert len(seen) == 1
