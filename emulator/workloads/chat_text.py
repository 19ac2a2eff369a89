"""A model's tokenizer and chat template, without torch and transformers (seconds to import)."""

import json
from pathlib import Path
from typing import Any

Messages = list[dict[str, str]]
IGNORED = -100  # a label that the loss leaves out


class TemplateRefuses(ValueError):
    """The model's chat template does not take a conversation; the text says why."""


class ChatText:
    """Turns conversations into token ids the way the model's own template says."""

    def __init__(self, folder: Path) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        self.specials = {name: _text(config.get(name)) for name in names}
        jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        jinja.globals["raise_exception"] = _refuse
        self.template = jinja.from_string(_template(folder, config))

    @property
    def pad_id(self) -> int:
        token = self.specials["pad_token"] or self.specials["eos_token"]
        return int(self.tokenizer.token_to_id(token) or 0)

    def render(self, messages: Messages, *, answer: bool) -> str:
        """The conversation as text; with ``answer`` it ends where the assistant begins to speak.

        Raises TemplateRefuses.
        """
        from jinja2 import TemplateError

        try:
            return str(
                self.template.render(
                    messages=messages, add_generation_prompt=answer, **self.specials
                )
            )
        except TemplateError as error:
            raise TemplateRefuses(f"The model's chat template fails: {error}.") from error

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def example(self, messages: Messages) -> tuple[list[int], list[int]]:
        """Token ids and labels of one conversation; only what the assistant says has labels.

        Raises TemplateRefuses.
        """
        ids: list[int] = []
        labels: list[int] = []
        text = ""
        for place, message in enumerate(messages):
            speaks = message["role"] == "assistant"
            closed = self.render(messages[: place + 1], answer=False)
            if speaks:  # the words that open its turn are the template's, not its own
                opened = (
                    self.render(messages[:place], answer=True)
                    if place
                    else closed[: max(closed.rfind(message["content"]), 0)]
                )
                text = self._grow(ids, labels, text, opened, learn=False)
            text = self._grow(ids, labels, text, closed, learn=speaks)
        return ids, labels

    def _grow(
        self, ids: list[int], labels: list[int], text: str, longer: str, *, learn: bool
    ) -> str:
        if not longer.startswith(text):
            raise TemplateRefuses(
                "The model's chat template changes what came before when a message is added, so "
                "the assistant's words cannot be told from the rest."
            )
        new = self.ids(longer[len(text) :])
        ids += new
        labels += new if learn else [IGNORED] * len(new)
        return longer


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _template(folder: Path, config: dict[str, Any]) -> str:
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return beside.read_text(encoding="utf-8")
    return str(config["chat_template"])


def _refuse(message: str) -> None:
    raise TemplateRefuses(f"The model's chat template refuses it: {message}")
