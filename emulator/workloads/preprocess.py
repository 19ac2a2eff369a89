"""Step 3, preprocess: conversations to token ids and labels, by the model's own chat template.

Only what the assistant says has labels. The evaluation uses the validation file or, without one,
the test file.
"""

import json
from pathlib import Path

from chat_text import IGNORED, ChatText, TemplateRefuses
from step import Spec, StepError, conversations, run, say

SPLITS = {"train": "train_file_path", "validation": "validation_file_path"}


def main(spec: Spec) -> None:
    if spec.text("batch_size", "1000") != "1000":
        say(
            f"accepted without effect: batch_size={spec.text('batch_size', '')} (one row at a time)"
        )
    model = spec.path("model_folder")
    text = ChatText(model)
    limit = length(spec, model)
    files = {split: name for split, name in SPLITS.items() if spec.paths.get(name)}
    if "validation" not in files and spec.paths.get("test_file_path"):
        files["validation"] = "test_file_path"  # the tutorial gives no other file to evaluate on
    target = spec.out / "dataset_folder"
    target.mkdir(exist_ok=True)
    padded = spec.flag("pad_to_max_length")
    counts = {
        split: tokenise(text, spec.path(name), target / f"{split}.jsonl", limit, padded)
        for split, name in files.items()
    }
    if not counts.get("train", {}).get("rows"):
        raise StepError(
            "No row of the training file has anything to learn: the assistant says nothing within "
            f"the first {limit} tokens."
        )
    about = {"counts": counts, "max_seq_length": limit, "pad_id": text.pad_id}
    (target / "about.json").write_text(json.dumps(about))
    for split, count in counts.items():
        say(f"{split}: " + ", ".join(f"{what} {number}" for what, number in count.items()))
    say(f"at most {limit} tokens a row")


def length(spec: Spec, model: Path) -> int:
    """The longest row in tokens: as asked, but no longer than the model can take."""
    config = json.loads((model / "config.json").read_text())
    most = int(config.get("max_position_embeddings", 2048))
    wanted = spec.integer("max_seq_length", -1)
    return min(wanted, most) if wanted > 0 else most


def tokenise(
    text: ChatText, source: Path, target: Path, limit: int, padded: bool
) -> dict[str, int]:
    """Write the rows; what is cut and what has nothing to learn is counted.

    Raises StepError: the model's template refuses a conversation.
    """
    counts = {"rows": 0, "tokens": 0, "cut": 0, "nothing_to_learn": 0}
    with target.open("w") as out:
        for number, messages in conversations(source):
            try:
                ids, labels = text.example(messages)
            except TemplateRefuses as error:
                raise StepError(f"{source.name}, line {number}: {error}") from None
            counts["cut"] += len(ids) > limit
            ids, labels = ids[:limit], labels[:limit]
            if all(label == IGNORED for label in labels):
                counts["nothing_to_learn"] += 1
                continue
            counts["rows"] += 1
            counts["tokens"] += len(ids)
            fill = limit - len(ids) if padded else 0
            row = {
                "input_ids": ids + [text.pad_id] * fill,
                "labels": labels + [IGNORED] * fill,
                "attention_mask": [1] * len(ids) + [0] * fill,
            }
            out.write(json.dumps(row) + "\n")
    return counts


if __name__ == "__main__":
    run(main, __doc__)
