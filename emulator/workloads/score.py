"""Serve a model: liveness at GET /, requests at POST /score, what they are at GET /swagger.json.

A chat model of this emulator is asked as the tutorial asks it (``chat_requests``), any other MLflow
model as Azure's own scoring script reads its signature (``pyfunc_requests``), and with ``--script``
a script of the user's has the word (``script_requests``). The paths and the shape of errors are
those of Azure's inference server: microsoft/azureml-inference-server, ``server/routes.py``.
"""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import yaml
from chat_requests import LOADER, ChatScoring, problem
from openapi import documents
from pyfunc_requests import PyfuncScoring
from script_requests import ScriptScoring

LARGEST = 4 * 1024 * 1024  # bytes of a request
FLAVOR = "python_function"


class Scoring(Protocol):
    """What answers; one request at a time."""

    def respond(self, body: bytes) -> tuple[int, Any]:
        """Status and answer of a scoring request."""

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it is asked and what it answers, as JSON Schemas."""


class Requests(BaseHTTPRequestHandler):
    """One connection; ``handler`` says what answers."""

    protocol_version = "HTTP/1.1"
    scoring: Scoring
    described: dict[str, Any]
    turn: threading.Lock

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/":
            self.answer(200, {"status": "Healthy"})
        elif path == "/swagger.json":
            self.describe(query.removeprefix("version=") or "2")
        else:
            self.answer(404, problem("NotFound", f"There is nothing at {self.path}."))

    def describe(self, version: str) -> None:
        if version in self.described:
            self.answer(200, self.described[version])
        else:
            known = ", ".join(sorted(self.described))
            text = f"Swagger version '{version}' is not valid; there are {known}."
            self.answer(404, {"message": text})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.close_connection = True  # what follows is not read
            text = f"A request must have a Content-Length of at most {LARGEST} bytes."
            self.answer(413 if length.isdecimal() else 411, problem("BadArgument", text))
            return
        body = self.rfile.read(int(length))
        if self.path != "/score":
            text = f"There is nothing at {self.path}; POST to /score."
            self.answer(404, problem("NotFound", text))
            return
        began = time.monotonic()
        with self.turn:
            status, answer = self.scoring.respond(body)
        print(f"scored in {time.monotonic() - began:.2f} s", flush=True)
        self.answer(status, answer)

    def answer(self, status: int, body: Any) -> None:
        try:
            content = json.dumps(body).encode()
        except (TypeError, ValueError) as error:  # what a script returned
            status, body = 500, {"message": f"The answer cannot be written as JSON: {error}."}
            content = json.dumps(body).encode()
        if status >= 400:
            print(body.get("message") or body["error"]["message"], flush=True)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except ConnectionError:  # whoever asked did not wait
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        print(f"{self.log_date_time_string()} {format % args}", flush=True)


def handler(scoring: Scoring) -> type[Requests]:
    """The class whose instances answer; one request is scored at a time."""

    class Handler(Requests):
        pass

    Handler.scoring, Handler.turn = scoring, threading.Lock()  # two would share the cores
    Handler.described = documents(*scoring.schemas())
    return Handler


def load(folder: Path) -> Scoring:
    """The model as MLflow loads it; ends the program where it cannot be scored."""
    if not (folder / "MLmodel").is_file():
        sys.exit(f"'{folder}' is not an MLflow model folder: it has no MLmodel.")
    flavors = (yaml.safe_load((folder / "MLmodel").read_text()) or {}).get("flavors") or {}
    if FLAVOR not in flavors:
        sys.exit(f"'{folder}' cannot be scored: its MLmodel has no flavor '{FLAVOR}'.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning would cost the others' cores
    import mlflow.pyfunc

    print(f"loading {folder.name}", flush=True)
    model = mlflow.pyfunc.load_model(str(folder))
    is_chat = flavors[FLAVOR].get("loader_module") == LOADER
    return ChatScoring(model) if is_chat else PyfuncScoring(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="an MLflow model folder, or any")
    parser.add_argument("--port-file", type=Path, required=True, help="gets the port, once ready")
    parser.add_argument("--script", type=Path, help="a scoring script: init() and run(data)")
    given = parser.parse_args()
    here = str(Path(__file__).parent)
    sys.path[:] = [path for path in sys.path if path != here]  # a user's module may have our names
    scoring = ScriptScoring(given.script) if given.script else load(given.model)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(scoring))
    part = given.port_file.with_suffix(".part")
    part.write_text(str(server.server_address[1]))
    os.replace(part, given.port_file)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
