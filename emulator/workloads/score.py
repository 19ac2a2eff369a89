"""Serve an MLflow model: liveness at GET /, the tutorial's request at POST /score.

The request: ``{"input_data": {"input_string": [conversation, ...], "parameters": {...}},
"params": {}}``, where a conversation is a list of ``{"role", "content"}``; one conversation alone
will do too. Parameters: temperature, top_p, do_sample, max_new_tokens.

The answer: ``{"output": text}`` for one conversation, a list of such for several. A request that is
not as it must be gets 400 with ``{"error": {"code", "message"}}``.
"""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PARAMETERS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_p": (float, 0.0, 1.0),
    "do_sample": (bool, False, True),
    "max_new_tokens": (int, 1, 4096),
}
ROLES = ("system", "developer", "user", "assistant")
LARGEST = 4 * 1024 * 1024  # bytes of a request


class BadRequest(Exception):
    """What is wrong with a request, in one sentence."""


def read_request(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Conversations and generation parameters. Raises BadRequest."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request is not JSON ({error}).") from None
    inputs = data.get("input_data") if isinstance(data, dict) else None
    if not isinstance(inputs, dict) or "input_string" not in inputs:
        raise BadRequest("The request must be an object with input_data.input_string.")
    given = inputs["input_string"]
    if not isinstance(given, list) or not given:
        raise BadRequest("input_data.input_string must be a list of conversations.")
    conversations = given if isinstance(given[0], list) else [given]
    for place, conversation in enumerate(conversations):
        check_conversation(place, conversation)
    return conversations, read_parameters(inputs.get("parameters"))


def check_conversation(place: int, conversation: Any) -> None:
    """Raises BadRequest: not a list of messages that a chat template takes."""
    if not isinstance(conversation, list) or not conversation:
        raise BadRequest(f"Conversation {place} must be a list of messages, and not empty.")
    for number, message in enumerate(conversation):
        texts = message if isinstance(message, dict) else {}
        if not all(isinstance(texts.get(name), str) for name in ("role", "content")):
            raise BadRequest(
                f"Message {number} of conversation {place} must have the texts 'role' and "
                "'content'."
            )
        if texts["role"] not in ROLES:
            raise BadRequest(
                f"Message {number} of conversation {place} has the role '{texts['role']}'; known "
                f"are {', '.join(ROLES)}."
            )


def read_parameters(given: Any) -> dict[str, Any]:
    """Raises BadRequest: an unknown parameter, or a value that it cannot have."""
    if not isinstance(given, dict | None):
        raise BadRequest("input_data.parameters must be an object.")
    for name, value in (given or {}).items():
        if name not in PARAMETERS:
            raise BadRequest(f"Unknown parameter '{name}'; known are {', '.join(PARAMETERS)}.")
        if not fits(value, *PARAMETERS[name]):
            kind, least, most = PARAMETERS[name]
            allowed = "true or false" if kind is bool else f"{kind.__name__} {least} to {most}"
            raise BadRequest(f"Parameter '{name}' is {value!r}; it must be {allowed}.")
    return {name: PARAMETERS[name][0](value) for name, value in (given or {}).items()}


def fits(value: Any, kind: type, least: float, most: float) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if not isinstance(value, int | float) or not least <= value <= most:
        return False
    return kind is float or value == int(value)


def problem(code: str, message: str) -> dict[str, Any]:
    """An error in the shape that Azure's SDK reads."""
    return {"error": {"code": code, "message": message}}


def respond(model: Any, body: bytes) -> tuple[int, Any]:
    """Status and answer of a scoring request."""
    try:
        conversations, parameters = read_request(body)
        outputs = model.predict(conversations, params=parameters)
    except (BadRequest, ValueError) as error:  # a chat template may refuse, too
        return 400, problem("BadArgument", str(error))
    answers = [{"output": text} for text in outputs]
    return 200, answers[0] if len(answers) == 1 else answers


def handler(model: Any) -> type[BaseHTTPRequestHandler]:
    turn = threading.Lock()  # one generation at a time: two would share the cores

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/":
                self.answer(200, {"status": "Healthy"})
            else:
                self.answer(404, problem("NotFound", f"There is nothing at {self.path}."))

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
            with turn:
                status, answer = respond(model, body)
            print(f"scored in {time.monotonic() - began:.2f} s", flush=True)
            self.answer(status, answer)

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            if status >= 400:
                print(body["error"]["message"], flush=True)
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

    return Handler


def load(folder: Path) -> Any:
    """The model as MLflow loads it."""
    if not (folder / "MLmodel").exists():
        sys.exit(f"'{folder}' is not an MLflow model folder: it has no MLmodel.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning would cost the others' cores
    import mlflow.pyfunc

    print(f"loading {folder.name}", flush=True)
    return mlflow.pyfunc.load_model(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
