"""A model folder's tokenizer and chat template, without torch and transformers (seconds to import)."""

import json
from pathlib import Path
from typing import Any

Messages = list[dict[str, str]]
IGNORED = -100  # a label that the loss leaves out


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
        """The conversation as text; with ``answer`` it ends where the assistant begins to speak."""
        return str(
            self.template.render(messages=messages, add_generation_prompt=answer, **self.specials)
        )

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def example(self, messages: Messages) -> tuple[list[int], list[int]]:
        """Token ids and labels of one conversation; only what the assistant says has labels."""
        ids: list[int] = []
        labels: list[int] = []
        text = ""
        for place, message in enumerate(messages):
            speaks = message["role"] == "assistant"
            if speaks:  # the words that open its turn are the template's, not its own
                text = self._grow(ids, labels, text, messages[:place], True, learn=False)
            text = self._grow(ids, labels, text, messages[: place + 1], False, learn=speaks)
        return ids, labels

    def _grow(
        self,
        ids: list[int],
        labels: list[int],
        text: str,
        messages: Messages,
        answer: bool,
        *,
        learn: bool,
    ) -> str:
        if not messages:
            return text
        whole = self.render(messages, answer=answer)
        new = self.ids(whole[len(text) :]) if whole.startswith(text) else []
        ids += new
        labels += new if learn else [IGNORED] * len(new)
        return whole if whole.startswith(text) else text


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _template(folder: Path, config: dict[str, Any]) -> str:
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return beside.read_text(encoding="utf-8")
    return str(config["chat_template"])


def _refuse(message: str) -> None:
    raise ValueError(message)
