"""Step 2, model import: the foundation model as a plain folder of configuration, weights, tokenizer."""

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
        raise StepError("A Hugging Face id needs the Hub, which this emulator does not reach.")
    model = mlflow_folder.model_of(source)
    missing = [name for name in NEEDED if not (model / name).exists()]
    if missing or not list(model.glob("*.safetensors")):
        raise StepError(f"The model's folder lacks {', '.join(missing) or 'its weights'}.")
    target = spec.out / "model_folder"
    shutil.copytree(model, target)
    about = mlflow_folder.metadata_of(source)
    (target / "imported_from.json").write_text(json.dumps(about))
    config = json.loads((target / "config.json").read_text())
    say(f"imported {config['architectures'][0]}: {about.get('weights', 'weights of your own')}")


if __name__ == "__main__":
    run(main, __doc__)
