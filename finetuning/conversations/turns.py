"""What of a conversation is asked, and what a good answer was."""

from __future__ import annotations


def split_turns(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Return what is sent, and the reference: the last assistant's turn and all before it."""
    last = max((i for i, one in enumerate(messages) if one["role"] == "assistant"), default=None)
    if last is None or last == 0:
        return messages, ""
    return messages[:last], messages[last]["content"]
