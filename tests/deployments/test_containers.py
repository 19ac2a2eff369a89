"""What the containers write, and what they are told: only below var, and no login as text."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.filesystems import LocalFileSystem

from deployments.local_stack import ROOT
from tests.conftest import environment
from tests.deployments.test_manifests import FOLDER, MANIFESTS, rendered

SECRET = "admin:login-of-the-api"


def pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = manifest.get("spec", {}).get("template", {}).get("spec")
    return found


def is_written_below_var_only(pod: dict[str, Any]) -> None:
    writable = {one["name"] for one in pod["volumes"] if "emptyDir" in one}
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert set(mounts) == {"/app/var", "/tmp"}
        assert set(mounts.values()) <= writable


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_container_of_the_manifests_writes_below_var_and_tmp_only(
    manifest: dict[str, Any],
) -> None:
    pod = pod_of(manifest)
    if pod is not None:
        is_written_below_var_only(pod)


def job_configuration() -> Any:
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    made = rendered(KubernetesWorkerJobConfiguration, "kubernetes")
    made.env = {**made.env, "PREFECT_API_AUTH_STRING": SECRET}
    made._populate_env_in_manifest()
    return made


def test_a_job_of_the_pool_writes_below_var_and_tmp_only() -> None:
    is_written_below_var_only(job_configuration().job_manifest["spec"]["template"]["spec"])


def worker_environment() -> dict[str, Any]:
    text = (FOLDER / "kubernetes" / "worker.yaml").read_text(encoding="utf-8")
    worker = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    container = worker["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one for one in container["env"]}


class _Submitted(Exception):
    """The cluster stands still here: what it would have been sent is looked at."""


def created_by_the_worker(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The Job that Prefect's worker sends to a cluster, with these variables of its own."""
    from prefect_kubernetes import worker as module

    sent: list[dict[str, Any]] = []

    class Cluster:
        def __init__(self, client: object) -> None:
            pass

        async def create_namespaced_job(self, namespace: str, manifest: dict[str, Any]) -> None:
            sent.append(manifest)
            raise _Submitted

    monkeypatch.setattr(module, "BatchV1Api", Cluster)
    configuration = job_configuration()
    with environment(
        {**env, "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_CREATE_JOB_RETRY_MAX_RETRIES": "1"}
    ):
        worker = module.KubernetesWorker(work_pool_name="fine-tune")
        with pytest.raises(_Submitted):
            asyncio.run(worker._create_job(configuration, client=None))
    return sent[0]


def test_without_our_settings_the_worker_would_write_the_login_into_the_job(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SECRET in json.dumps(created_by_the_worker({}, monkeypatch))


def test_the_worker_names_a_secret_in_the_job_and_never_the_login(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_"
    own = {name: one["value"] for name, one in worker_environment().items() if prefix in name}

    job = created_by_the_worker(own, monkeypatch)

    assert SECRET not in json.dumps(job)
    container = job["spec"]["template"]["spec"]["containers"][0]
    login = next(one for one in container["env"] if one["name"] == "PREFECT_API_AUTH_STRING")
    assert login["valueFrom"] == worker_environment()["PREFECT_API_AUTH_STRING"]["valueFrom"]


def test_the_settings_that_name_the_secret_are_prefects() -> None:
    from prefect_kubernetes.settings import KubernetesWorkerSettings

    prefix = str(KubernetesWorkerSettings.model_config["env_prefix"])
    known = {f"{prefix}{name}".upper() for name in KubernetesWorkerSettings.model_fields}

    own = {name for name in worker_environment() if "INTEGRATIONS" in name}
    assert own and own <= known


def test_the_image_keeps_what_it_writes_below_var() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert "VOLUME /app/var" in text
    assert text.index("chown --recursive 10001 var") < text.index("USER 10001")
    for name in ("HOME", "FINETUNE_DATA", "PREFECT_HOME", "HF_HOME", "MPLCONFIGDIR"):
        assert f" {name}=/app/var/" in text


def test_a_pod_copies_no_virtual_environment(tmp_path: Path) -> None:
    """``prefect flow-run execute`` copies the flow's folder by this block."""
    project, copy = tmp_path / "project", tmp_path / "copy"
    for name in (".venv/lib/torch.so", "var/data/rows.jsonl", ".git/index", "flows/fine_tune.py"):
        (project / name).parent.mkdir(parents=True)
        (project / name).touch()
    shutil.copy(ROOT / ".prefectignore", project)

    LocalFileSystem(basepath=str(project)).get_directory(local_path=str(copy))

    copied = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert copied == {".prefectignore", "flows/fine_tune.py"}
