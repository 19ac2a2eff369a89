"""Step 5, converter: the fine-tuned model as an MLflow model folder."""

import json

import mlflow_folder
from step import Spec, StepError, run, say


def main(spec: Spec) -> None:
    tuned = spec.path("pytorch_model_folder")
    adapter = tuned / "adapter"
    model = tuned if (tuned / "config.json").exists() else spec.path("model_folder")
    if not (model / "config.json").exists():
        raise StepError("The fine-tuned model's folder has no config.json.")
    about = json.loads((tuned / "trained.json").read_text())
    metadata = {key: str(value) for key, value in about.items()}
    target = spec.out / "mlflow_model_folder"
    has_adapter = adapter.is_dir()
    mlflow_folder.write(target, model, adapter=adapter if has_adapter else None, metadata=metadata)
    if has_adapter and model == tuned:  # the adapter was copied with the model: once is enough
        import shutil

        shutil.rmtree(target / "data" / "model" / "adapter")
    say(f"MLflow model of {about['weights']} after {about['steps']} steps")


if __name__ == "__main__":
    run(main, __doc__)
