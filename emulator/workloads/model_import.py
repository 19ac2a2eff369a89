"""Step 2, model import: the foundation model as a folder of configuration, weights, tokenizer."""

import json
import shutil

import mlflow_folder
from step import Spec, StepError, run, say

NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")


def main(spec: Spec) -> None:
    if spec.paths.get("mlflow_model_path"):
        source = spec.path("mlflow_model_path")
    elif spec.paths.get("pytorch_model_path"):
        source = spec.path("pytorch_model_path")
    else:
        raise StepError(
            "No model was given; a Hugging Face id alone needs the Hub, which this emulator does "
            "not reach: give 'mlflow_model_path' or 'pytorch_model_path'."
        )
    model = mlflow_folder.model_of(source)
    missing = [name for name in NEEDED if not (model / name).exists()]
    if not list(model.glob("*.safetensors")):
        missing.append("weights (*.safetensors)")
    if missing:
        raise StepError(f"The model's folder '{model}' lacks {', '.join(missing)}.")
    target = spec.out / "model_folder"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(model, target)
    about = mlflow_folder.metadata_of(source)
    (target / "imported_from.json").write_text(json.dumps(about))
    config = json.loads((target / "config.json").read_text())
    kind = ", ".join(config.get("architectures") or ["a model"])
    say(f"imported {kind}: {about.get('weights', 'weights of your own')}")


if __name__ == "__main__":
    run(main, __doc__)
