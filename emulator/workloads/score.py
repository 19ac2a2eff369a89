"""Serve an MLflow model: liveness at GET /, the tutorial's request at POST /score.

The request: ``{"input_data": {"input_string": [conversation, ...], "parameters": {...}}, "params": {}}``
where a conversation is a list of ``{"role", "content"}``; one conversation alone will do too. The
answer: ``{"output": text}`` for one conversation, a list of such for several.
"""

import argparse
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PARAMETERS = {
    "temperature": (float, 0.0, 100.0),
    "top_p": (float, 0.0, 1.0),
    "do_sample": (bool, False, True),
    "max_new_tokens": (int, 1, 4096),
}


class BadRequest(Exception):
    """What is wrong with a request, in one sentence."""


def read_request(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Conversations and generation parameters. Raises BadRequest."""
    try:
        data = json.loads(body)["input_data"]
        given = data["input_string"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(
            f"The request is not as expected: {type(error).__name__} {error}."
        ) from None
    if not isinstance(given, list) or not given:
        raise BadRequest("input_data.input_string must be a list of conversations.")
    conversations = given if isinstance(given[0], list) else [given]
    for conversation in conversations:
        check_conversation(conversation)
    return conversations, read_parameters(data.get("parameters") or {})


def check_conversation(conversation: Any) -> None:
    if not isinstance(conversation, list) or not conversation:
        raise BadRequest("A conversation must be a list of messages.")
    for message in conversation:
        texts = message if isinstance(message, dict) else {}
        if not all(isinstance(texts.get(name), str) for name in ("role", "content")):
            raise BadRequest("A message must have the texts 'role' and 'content'.")


def read_parameters(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise BadRequest("input_data.parameters must be an object.")
    known = {}
    for name, value in given.items():
        if name not in PARAMETERS:
            raise BadRequest(f"Unknown parameter '{name}'; known are {', '.join(PARAMETERS)}.")
        kind, least, most = PARAMETERS[name]
        fits = isinstance(value, bool) if kind is bool else isinstance(value, (int, float))
        if not fits or isinstance(value, bool) is not (kind is bool) or not least <= value <= most:
            raise BadRequest(f"Parameter '{name}' is {value!r}; it must be from {least} to {most}.")
        known[name] = kind(value)
    return known


def problem(message: str) -> dict[str, Any]:
    """An error in the shape that Azure's SDK reads."""
    return {"error": {"code": "BadArgument", "message": message}}


def handler(model: Any) -> type[BaseHTTPRequestHandler]:
    turn = threading.Lock()  # one generation at a time: two would share the cores

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(200, {"status": "Healthy"}) if self.path == "/" else self.answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path != "/score":
                self.answer(404, problem(f"There is nothing at {self.path}; POST to /score."))
                return
            try:
                conversations, parameters = read_request(body)
            except BadRequest as error:
                self.answer(400, problem(str(error)))
                return
            with turn:
                outputs = model.predict(conversations, params=parameters)
            answers = [{"output": text} for text in outputs]
            self.answer(200, answers[0] if len(answers) == 1 else answers)

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            print(format % args, flush=True)

    return Handler


def load(folder: Path) -> Any:
    """The model as MLflow loads it."""
    import mlflow.pyfunc

    print(f"loading {folder.name}", flush=True)
    return mlflow.pyfunc.load_model(str(folder)).get_raw_model()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="an MLflow model folder")
    parser.add_argument("--port-file", type=Path, required=True, help="gets the port, once ready")
    given = parser.parse_args()
    model = load(given.model)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(model))
    part = given.port_file.with_suffix(".part")
    part.write_text(str(server.server_address[1]))
    os.replace(part, given.port_file)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
