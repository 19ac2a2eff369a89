"""The variables that a job's program finds, as Azure ML sets them.

Source: azureml-mlflow (azureml/mlflow/_internal/service_context_loader.py, _common/constants.py);
MicrosoftDocs/azure-ai-docs: how-to-train-distributed-gpu.md (PyTorch's).
"""

import os
import sys
from pathlib import Path
from typing import Any

from emulator.configuration import Configuration, environment
from emulator.protocol import tokens
from emulator.services.jobs.records import Record

#: What a program needs to reach this cloud by the SDK's own means; no identity is among it.
NETWORK = (
    "AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL", "REGISTRY_DISCOVERY_ENDPOINT_URL",
    "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
    "HF_ENDPOINT",
)  # fmt: skip
#: One process of one node.
DISTRIBUTED = {
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "6105",
    "NODE_RANK": "0",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
}


def variables(config: Configuration, record: Record, now: float) -> dict[str, str]:
    """What the program of a run finds; ``now`` (unix seconds) is when its token begins."""
    mine, command = config.identity, record["command"]
    known = environment(config)
    token = tokens.issue(config, config.audience, now)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    own = {
        "AZUREML_RUN_ID": record["name"],
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_RUN_TOKEN_EXPIRY": str(int(now + config.token_lifetime_s)),
        "AZUREML_ARM_SUBSCRIPTION": mine.subscription,
        "AZUREML_ARM_RESOURCEGROUP": mine.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": mine.workspace,
        "AZUREML_ARM_PROJECT_NAME": record["experiment"],
        "AZUREML_EXPERIMENT_ID": record["experiment_id"],
        "AZUREML_EXPERIMENT_SCOPE": f"{record['workspace']}/experiments/{record['experiment']}",
        "AZUREML_WORKSPACE_ID": mine.principal,
        "AZUREML_WORKSPACE_SCOPE": record["workspace"],
        "AZUREML_SERVICE_ENDPOINT": f"https://{config.api_host}",
        "MLFLOW_TRACKING_URI": config.tracking_uri,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": record["name"],
        "MLFLOW_EXPERIMENT_ID": record["experiment_id"],
        "MLFLOW_EXPERIMENT_NAME": record["experiment"],
    }
    return {
        **{name: known[name] for name in NETWORK},
        "PATH": path,
        **{name: _text(value) for name, value in command["variables"].items()},
        **(DISTRIBUTED if command["distributed"] else {}),
        **own,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
