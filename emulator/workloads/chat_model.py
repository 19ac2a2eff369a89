"""How MLflow loads a chat model of this emulator, and how it answers."""

from pathlib import Path
from typing import Any

DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "do_sample": False, "max_new_tokens": 64}


def _load_pyfunc(path: str) -> "ChatModel":
    """MLflow's entry point; ``path`` is the folder's ``data``."""
    return ChatModel(Path(path))


class ChatModel:
    """A causal language model with its chat template."""

    def __init__(self, data: Path) -> None:
        import torch
        from chat_text import ChatText
        from transformers import AutoModelForCausalLM

        self.text = ChatText(data / "model")
        model = AutoModelForCausalLM.from_pretrained(data / "model", dtype=torch.float32)
        if (data / "adapter").is_dir():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, data / "adapter")
        self.model = model.eval()

    def get_raw_model(self) -> "ChatModel":
        """What MLflow hands to whoever wants the model without its wrapper."""
        return self

    def predict(self, conversations: list[Any], params: dict[str, Any] | None = None) -> list[str]:
        """One answer for each conversation, a list of ``{"role", "content"}``."""
        wanted = {**DEFAULTS, **(params or {})}
        return [self._answer(messages, wanted) for messages in conversations]

    def _answer(self, messages: list[dict[str, str]], wanted: dict[str, Any]) -> str:
        import torch

        prompt = self.text.ids(self.text.render(messages, answer=True))
        most = int(wanted["max_new_tokens"])
        room = int(self.model.config.max_position_embeddings) - most
        prompt = prompt[-max(room, 1) :]
        sampling = bool(wanted["do_sample"]) and float(wanted["temperature"]) > 0
        how: dict[str, Any] = {"do_sample": sampling}
        if sampling:
            how |= {
                "temperature": float(wanted["temperature"]),
                "top_p": float(wanted["top_p"]),
                "top_k": 0,
            }
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=most,
                pad_token_id=self.text.pad_id,
                **how,
            )
        return str(self.text.tokenizer.decode(made[0, len(prompt) :].tolist())).strip()
