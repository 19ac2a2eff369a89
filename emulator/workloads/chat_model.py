"""How MLflow loads a chat model of this emulator, and how it answers."""

from pathlib import Path
from typing import Any

DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "do_sample": False, "max_new_tokens": 64}
SMALL = 10_000_000  # weights; below it threads wait for each other longer than they compute
COLDEST = 1e-3  # below it a sample is the likeliest token anyway, and the numbers overflow


def _load_pyfunc(path: str) -> "ChatModel":
    """MLflow's entry point; ``path`` is the folder's ``data``."""
    return ChatModel(Path(path))


class ChatModel:
    """A causal language model with its chat template."""

    def __init__(self, data: Path) -> None:
        import torch
        from chat_text import ChatText
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.text = ChatText(data / "model")
        model = AutoModelForCausalLM.from_pretrained(data / "model", dtype=torch.float32)
        if model.num_parameters() < SMALL:
            torch.set_num_threads(1)
        if (data / "adapter").is_dir():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, data / "adapter")
        self.model = model.eval()

    def predict(self, conversations: list[Any], params: dict[str, Any] | None = None) -> list[str]:
        """One answer for each conversation, a list of ``{"role", "content"}``.

        ``params``: temperature, top_p, do_sample, max_new_tokens. Raises ValueError: the model's
        template refuses a conversation.
        """
        wanted = {**DEFAULTS, **(params or {})}
        return [self._answer(messages, wanted) for messages in conversations]

    def _answer(self, messages: list[dict[str, str]], wanted: dict[str, Any]) -> str:
        import torch

        places = int(self.model.config.max_position_embeddings)
        most = min(int(wanted["max_new_tokens"]), places - 1)
        prompt = self.text.ids(self.text.render(messages, answer=True))
        prompt = prompt[-(places - most) :]  # the end of a conversation that is too long
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=1,
                max_new_tokens=most,
                pad_token_id=self.text.pad_id,
                **_sampling(wanted),
            )
        return str(self.text.tokenizer.decode(made[0, len(prompt) :].tolist())).strip()


def _sampling(wanted: dict[str, Any]) -> dict[str, Any]:
    temperature = float(wanted["temperature"])
    if not wanted["do_sample"] or temperature < COLDEST:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": temperature,
        "top_p": float(wanted["top_p"]),
        "top_k": 0,
    }
