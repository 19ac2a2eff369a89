"""The MLflow tracking server in one process, on a port of the system's choice.

A program of its own, started by ``server.py``:

    python program.py --database FILE --artifacts DIR --port-file FILE

It is MLflow's own server application. ``mlflow server`` would start the same one, but keeps a
second interpreter with all of MLflow beside it only to wait for the first: 270 MB that do nothing.
"""

import argparse
import os
import socket
import sys
from pathlib import Path


def listen() -> socket.socket:
    """A listening socket on loopback; clients may connect while MLflow is still being imported."""
    # Named protocol: asyncio then switches Nagle's algorithm off, 40 ms less for every request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def configure(database: Path, artifacts: Path) -> None:
    """Say in MLflow's environment variables what ``mlflow server`` says in them."""
    os.environ.update(
        {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{database}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
    )


def verify() -> None:
    """Stop with a sentence if another MLflow reads its settings elsewhere."""
    from mlflow.server import constants

    names = {
        constants.BACKEND_STORE_URI_ENV_VAR,
        constants.ARTIFACT_ROOT_ENV_VAR,
        constants.ARTIFACTS_DESTINATION_ENV_VAR,
        constants.SERVE_ARTIFACTS_ENV_VAR,
    }
    unknown = names - set(os.environ)
    if unknown:
        sys.exit(f"This MLflow reads its settings from {sorted(unknown)}: update this program.")


def main() -> None:
    parser = argparse.ArgumentParser(description="MLflow's tracking server, in one process.")
    parser.add_argument("--database", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--artifacts", type=Path, required=True, help="folder for artifacts")
    parser.add_argument("--port-file", type=Path, required=True, help="where to write the port")
    given = parser.parse_args()
    listener = listen()
    given.port_file.write_text(f"{listener.getsockname()[1]}\n")
    configure(given.database, given.artifacts)
    import uvicorn
    from mlflow.server.handlers import initialize_backend_stores

    verify()
    initialize_backend_stores(f"sqlite:///{given.database}", None, "mlflow-artifacts:/")
    config = uvicorn.Config("mlflow.server.fastapi_app:app", log_level="warning", workers=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
