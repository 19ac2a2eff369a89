"""The manifests, held against their schemas. None of them has been run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deployments.local_stack import ROOT

FOLDER = ROOT / "deployments"
MANIFESTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted((FOLDER / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
POOLS = {
    "kubernetes": FOLDER / "kubernetes" / "pool.json",
    "azure-container-instance": FOLDER / "container_instances" / "pool.json",
}


def template(pool: str) -> dict[str, Any]:
    return dict(json.loads(POOLS[pool].read_text(encoding="utf-8")))


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_what_kubernetes_knows(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    manifest: dict[str, Any] = {**MANIFESTS[0].values[0], "metdata": {}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_containers_run_without_privileges(manifest: dict[str, Any]) -> None:
    pod = manifest.get("spec", {}).get("template", {}).get("spec")
    if pod is None:
        return

    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("path", sorted((FOLDER / "kubernetes").glob("*.yaml")))
def test_settings_in_the_manifests_exist(path: Path) -> None:
    from prefect.settings import Settings
    from prefect_kubernetes.settings import KubernetesSettings
    from prefect_redis.client import RedisMessagingSettings

    named = set(re.findall(r"\bPREFECT_[A-Z_]+", path.read_text(encoding="utf-8")))

    known = {name.upper() for name in settings_of(Settings) | settings_of(KubernetesSettings)}
    known |= {
        f"PREFECT_REDIS_MESSAGING_{field.upper()}" for field in RedisMessagingSettings.model_fields
    }
    assert named - known == set()


def settings_of(model: Any) -> set[str]:
    """Every environment variable that a tree of Prefect's settings reads."""
    found: set[str] = set()
    prefix = str(model.model_config.get("env_prefix", ""))
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            found |= settings_of(field.annotation)
        found.add(prefix + name)
        choices = getattr(field.validation_alias, "choices", [])
        found |= {one for one in choices if isinstance(one, str)}
    return found


def rendered(configuration: Any, pool: str) -> Any:
    import asyncio

    values = {"command": "prefect flow-run execute", "resource_group_name": "group"}
    if pool == "azure-container-instance":
        values["subscription_id"] = "00000000-0000-0000-0000-000000000000"
    return asyncio.run(configuration.from_template_and_values(template(pool), values))


def test_the_kubernetes_pool_makes_a_valid_job() -> None:
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    made = rendered(KubernetesWorkerJobConfiguration, "kubernetes")
    made._populate_env_in_manifest()
    made._populate_image_if_not_present()
    made._populate_command_if_not_present()
    made._populate_generate_name_if_not_present()
    manifest = made.job_manifest
    for misplaced in ("completions", "parallelism"):  # Prefect 3.8 wants them in the pod's spec,
        del manifest["spec"]["template"]["spec"][misplaced]  # where Kubernetes ignores them

    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert manifest["spec"]["backoffLimit"] == 0  # Prefect decides whether to begin again


def test_the_container_instances_pool_makes_a_container_group() -> None:
    from prefect_azure.workers.container_instance import AzureContainerJobConfiguration

    made = rendered(AzureContainerJobConfiguration, "azure-container-instance")

    group = made.arm_template["resources"][0]
    container = group["properties"]["containers"][0]["properties"]
    assert group["type"] == "Microsoft.ContainerInstance/containerGroups"
    assert container["image"] == "fine-tune-worker:0.1.0"
    assert "entrypoint.sh" not in json.dumps(container)  # Prefect's own image has that, ours not
    assert group["properties"]["restartPolicy"] == "Never"


def test_the_image_is_pinned_unprivileged_and_without_the_trainer() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()

    base = next(line for line in lines if line.startswith("ARG BASE=")).split("=")[1]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", base)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001"
    installs = " ".join(line for line in lines if "pip install" in line)
    assert "requirements.lock" in installs
    assert "emulator" not in installs
