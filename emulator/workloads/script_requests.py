"""A scoring script of the user's: ``init()`` once, ``run(data)`` for each request.

The script finds the model's folder in AZUREML_MODEL_DIR and its own folder on Python's path. As
with Azure's inference server (``server/user_script.py``) an undecorated ``run`` gets the body as
text, what it returns is written as JSON, and what it raises is 500 without its text.
"""

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
HEADERS = "request_headers"


class ScriptScoring:
    """A script whose ``init`` has been called; raises whatever the script raises."""

    def __init__(self, script: Path) -> None:
        sys.path.insert(0, str(Path.cwd()))
        spec = importlib.util.spec_from_file_location("entry_module", script)
        if spec is None or spec.loader is None:
            sys.exit(f"'{script}' is not a Python script.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in ("init", "run"):
            if not callable(getattr(module, name, None)):
                sys.exit(f"'{script.name}' has no function {name}().")
        self._run = module.run
        self._input = input_of(module.run)
        module.init()

    def respond(self, body: bytes) -> tuple[int, Any]:
        """Status and answer of a scoring request."""
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            return 400, {"message": f"Input cannot be decoded as UTF-8: {error}"}
        try:
            return 200, self._run(**{self._input: text})
        except Exception:
            traceback.print_exc()
            return 500, {"message": FAILED}

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Nothing is known of what an undecorated script takes."""
        anything = {"type": "object", "example": {}}
        return anything, anything


def input_of(run: Any) -> str:
    """The name of the parameter that gets the body; ends the program where there is none."""
    parameters = [one for one in inspect.signature(run).parameters if one != HEADERS]
    if not parameters:
        sys.exit("run() needs to accept an argument for input data.")
    if HEADERS in inspect.signature(run).parameters:
        sys.exit("run() that takes request_headers is not emulated.")
    return parameters[0]
