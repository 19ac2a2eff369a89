"""Step 5, converter: the fine-tuned model as an MLflow model folder."""

import json
import shutil

import mlflow_folder
from step import Spec, StepError, run, say


def main(spec: Spec) -> None:
    tuned = spec.path("pytorch_model_folder")
    if not (tuned / "config.json").exists():
        raise StepError(f"The fine-tuned model's folder '{tuned}' has no config.json.")
    trained = tuned / "trained.json"
    about = json.loads(trained.read_text()) if trained.exists() else {"weights": "unknown"}
    target = spec.out / "mlflow_model_folder"
    shutil.rmtree(target, ignore_errors=True)
    adapter = tuned / "adapter"
    mlflow_folder.write(
        target,
        tuned,
        adapter=adapter if adapter.is_dir() else None,
        metadata={key: str(value) for key, value in about.items()},
    )
    say(f"MLflow model of {about['weights']} after {about.get('steps', 'unknown')} steps")


if __name__ == "__main__":
    run(main, __doc__)
