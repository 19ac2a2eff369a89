"""What a deployment serves: its model, or a scoring script that finds the model's folder.

Where a script finds what is as in Azure's containers: MicrosoftDocs/azure-ai-docs:
how-to-deploy-online-endpoints.md (AZUREML_MODEL_DIR is the model's version, below it the folder or
file that was registered), how-to-inference-server-http.md (AML_APP_ROOT, AZUREML_ENTRY_SCRIPT).
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.protocol.errors import ArmError
from emulator.protocol.operations import OperationFailed
from emulator.services.assets.addresses import Locations, Unresolvable
from emulator.services.assets.environments import lacking
from emulator.services.assets.versions import Assets, address
from emulator.services.serving.scorers import Served

VERSION = re.compile(
    r"(?P<kind>models|codes|environments)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$",
    re.IGNORECASE,
)
WORDS = {"models": "model", "codes": "code", "environments": "environment"}
#: The log of what was put where, beside the process's own.
LOG = "storage-initializer.log"
#: Registered as such, a folder is MLflow's only by chance, and Azure wants a script.
CUSTOM = "custom_model"
NO_SCRIPT = (
    "The model '{model}' is of type custom_model: a deployment of it needs codeConfiguration and "
    "an environment. Only MLflow models are served without."
)


@dataclass(frozen=True)
class Preparation:
    """Finds what a deployment names, and puts it where a scoring process looks."""

    folder: Path  # of the deployments' processes
    assets: Assets
    locations: Locations

    def served(self, key: str, properties: dict[str, Any]) -> Served:
        """What the deployment's process starts with. Raises OperationFailed."""
        try:
            return self._served(key, properties)
        except (Unresolvable, ArmError) as problem:
            raise OperationFailed("ModelNotFound", str(problem)) from problem

    def tidy(self, key: str, served: Served | None = None) -> None:
        """Drop the copies of code that nothing runs any more; ``served`` is what does."""
        used = served.folder if served is not None else None
        for folder in (self.folder / key).glob("app-*"):
            if used is None or not used.is_relative_to(folder.resolve()):
                shutil.rmtree(folder, ignore_errors=True)

    def _served(self, key: str, properties: dict[str, Any]) -> Served:
        reference = str(properties.get("model") or "")
        model = self._asset("models", reference)
        path = self.locations.path(str(address(model["properties"])))
        self._say(key, f"Model '{model['id'].split('/models/')[1]}' is at {path}.", begins=True)
        code = properties.get("codeConfiguration") or {}
        env = dict(properties.get("environmentVariables") or {})
        if not code:
            if model["properties"].get("modelType") == CUSTOM:
                raise OperationFailed("BadArgument", NO_SCRIPT.format(model=reference))
            return Served(path, env)
        self._check_environment(str(properties.get("environmentId") or ""))
        root, script = self._app(key, code)
        models = self._models(root, reference, path)
        own = {
            "AML_APP_ROOT": str(root),
            "AZUREML_ENTRY_SCRIPT": str(code["scoringScript"]),
            "AZUREML_MODEL_DIR": str(models),
        }
        return Served(path, env | own, script, script.parent)

    def _say(self, key: str, text: str, *, begins: bool = False) -> None:
        """Write a line of the log, which begins anew with each start."""
        log = self.folder / key / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w" if begins else "a") as file:
            file.write(text + "\n")

    def _asset(self, kind: str, reference: str) -> dict[str, Any]:
        match = VERSION.search(reference)
        if match and match["kind"].lower() == kind:
            found = self.assets.get(kind, match["name"], match["version"])
            if found is not None:
                return found
        word = WORDS[kind]
        raise OperationFailed(
            f"{word.capitalize()}NotFound", f"The {word} '{reference}' was not found."
        )

    def _check_environment(self, reference: str) -> None:
        """Raises OperationFailed: it is not there, or asks what this machine has not."""
        missing = lacking(self._asset("environments", reference)["properties"])
        if missing:
            text = (
                "Image build failed. The emulator's own Python is the only image, and it has not: "
                f"{'; '.join(missing)}."
            )
            raise OperationFailed("ImageBuildFailure", text)

    def _app(self, key: str, code: dict[str, Any]) -> tuple[Path, Path]:
        """A copy of the code, and the script in it. Raises OperationFailed."""
        asset = self._asset("codes", str(code.get("codeId") or ""))
        source = self.locations.path(str(address(asset["properties"])))
        root = Path(tempfile.mkdtemp(prefix="app-", dir=self.folder / key)) / "code"
        shutil.copytree(source, root)
        self._say(key, f"Code '{code['codeId']}' was copied to {root}.")
        script = (root / str(code["scoringScript"])).resolve()
        if not script.is_relative_to(root.resolve()) or not script.is_file():
            text = f"The code has no scoring script '{code['scoringScript']}'."
            raise OperationFailed("BadArgument", text)
        return root, script

    def _models(self, root: Path, reference: str, path: Path) -> Path:
        """The folder that holds the model under the name that was registered."""
        match = VERSION.search(reference)
        assert match is not None, "the model was found by it"
        folder = root.parent / "azureml-models" / match["name"] / match["version"]
        folder.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, folder / path.name, copy_function=os.link)  # weights are large
        elif path.is_file():
            os.link(path, folder / path.name)
        return folder
