"""What a chat model is asked, and how it answers.

The request: ``{"input_data": {"input_string": [conversation, ...], "parameters": {...}},
"params": {}}``, where a conversation is a list of ``{"role", "content"}``; one conversation alone
will do too. Parameters: temperature, top_p, do_sample, max_new_tokens.

The answer: ``{"output": text}`` for one conversation, a list of such for several. A request that is
not as it must be gets 400 with ``{"error": {"code", "message"}}``.
"""

import json
from typing import Any

LOADER = "chat_model"  # the module that loads such a model, as its MLmodel says
PARAMETERS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_p": (float, 0.0, 1.0),
    "do_sample": (bool, False, True),
    "max_new_tokens": (int, 1, 4096),
}
WORDS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant")


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


class ChatScoring:
    """A loaded chat model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def respond(self, body: bytes) -> tuple[int, Any]:
        """Status and answer of a scoring request."""
        try:
            conversations, parameters = read_request(body)
            outputs = self._model.predict(conversations, params=parameters)
        except (BadRequest, ValueError) as error:  # a chat template may refuse, too
            return 400, problem("BadArgument", str(error))
        answers = [{"output": text} for text in outputs]
        return 200, answers[0] if len(answers) == 1 else answers

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it is asked and what it answers, as JSON Schemas."""
        message = {"type": "object", "properties": {name: {"type": "string"} for name in WORDS}}
        conversations = {"type": "array", "items": {"type": "array", "items": message}}
        inputs = {"input_string": conversations, "parameters": {"type": "object"}}
        asked = {"input_data": {"type": "object", "properties": inputs}}
        answer = {"type": "object", "properties": {"output": {"type": "string"}}}
        return {"type": "object", "properties": asked, "required": ["input_data"]}, answer
