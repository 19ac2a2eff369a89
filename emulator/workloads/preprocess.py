"""Step 3, preprocess: conversations to token ids and labels, by the model's own chat template."""

import json
from pathlib import Path

from chat_text import IGNORED, ChatText
from step import Spec, StepError, conversations, run, say

SPLITS = {"train": "train_file_path", "validation": "validation_file_path"}


def main(spec: Spec) -> None:
    model = spec.path("model_folder")
    text = ChatText(model)
    limit = length(spec, model)
    files = {split: name for split, name in SPLITS.items() if spec.paths.get(name)}
    if "validation" not in files and spec.paths.get("test_file_path"):
        files["validation"] = "test_file_path"  # the tutorial gives no other file to evaluate on
    target = spec.out / "dataset_folder"
    target.mkdir()
    padded = spec.flag("pad_to_max_length")
    counts = {
        split: tokenise(text, spec.path(name), target / f"{split}.jsonl", limit, padded)
        for split, name in files.items()
    }
    if not counts["train"]["rows"]:
        raise StepError("No row of the training file has anything that the assistant says.")
    about = {"counts": counts, "max_seq_length": limit, "pad_id": text.pad_id}
    (target / "about.json").write_text(json.dumps(about))
    say(f"tokenised, at most {limit} tokens a row: {counts}")


def length(spec: Spec, model: Path) -> int:
    """The longest row in tokens: as asked, but no longer than the model can take."""
    config = json.loads((model / "config.json").read_text())
    most = int(config.get("max_position_embeddings", 2048))
    wanted = spec.integer("max_seq_length", -1)
    return min(wanted, most) if wanted > 0 else most


def tokenise(
    text: ChatText, source: Path, target: Path, limit: int, padded: bool
) -> dict[str, int]:
    """Write the rows; what is cut and what has nothing to learn is counted."""
    counts = {"rows": 0, "tokens": 0, "cut": 0, "nothing_to_learn": 0}
    with target.open("w") as out:
        for _, messages in conversations(source):
            ids, labels = text.example(messages)
            counts["cut"] += len(ids) > limit
            ids, labels = ids[:limit], labels[:limit]
            if all(label == IGNORED for label in labels):
                counts["nothing_to_learn"] += 1
                continue
            counts["rows"] += 1
            counts["tokens"] += len(ids)
            if padded:
                fill = limit - len(ids)
                ids, labels = ids + [text.pad_id] * fill, labels + [IGNORED] * fill
            out.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
    return counts


if __name__ == "__main__":
    run(main, __doc__)
