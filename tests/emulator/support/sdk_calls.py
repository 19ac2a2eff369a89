"""Ordinary calls of azure-ai-ml, each with what it gets here: the right answer, or 501."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.emulator.support.pyfunc_models import DOUBLED
from tests.emulator.support.sdk_world import IMAGE, SIZE, Do, World, fresh

RIGHT, MISSING = "right", "501"


class Call(NamedTuple):
    """``do`` returns whether the answer is right; where it is missing, ``do`` raises 501."""

    name: str
    says: str
    do: Do


def names(found: Any) -> list[str]:
    return [one.name for one in found]


def archived(group: Any, asset: Any) -> bool:
    """Archive the version, look, restore it, look."""

    def seen() -> bool:
        return asset.name in names(group.list(name=asset.name))

    group.archive(asset.name, version=asset.version)
    gone = not seen()
    group.restore(asset.name, version=asset.version)
    return gone and seen()


def archived_by_name(group: Any, asset: Any) -> bool:
    """Archive all versions, look, restore them, look."""
    group.archive(asset.name)
    gone = asset.name not in names(group.list())
    group.restore(asset.name)
    return gone and asset.name in names(group.list())


def registered_by_mlflow(world: World) -> bool:
    """Register a run's model with MLflow, get it from the workspace."""
    name = world.mlflow_registered
    found = world.ml.models.get(name, "1")
    return bool(found.type == "mlflow_model" and found.job_name)


def archived_job(world: World) -> bool:
    name = world.job.name
    world.ml.jobs.archive(name)
    gone = name not in names(world.ml.jobs.list())
    world.ml.jobs.restore(name)
    return gone and name in names(world.ml.jobs.list())


def retagged(group: Any, asset: Any) -> bool:
    asset.tags = {"seen": "yes"}
    asset.description = "told"
    group.create_or_update(asset)
    again = group.get(asset.name, version=asset.version)
    return (again.tags, again.description) == ({"seen": "yes"}, "told")


def refused(call: Callable[[], Any]) -> bool:
    """Whether Azure says 400 to it."""
    from azure.core.exceptions import HttpResponseError

    try:
        call()
    except HttpResponseError as error:
        return error.status_code == 400
    return False


def scaled(world: World) -> bool:
    cluster = world.ml.compute.get(world.cluster)
    cluster.max_instances = 2
    world.ml.compute.begin_update(cluster).result()
    return bool(world.ml.compute.get(world.cluster).max_instances == 2)


def deleted_cluster(world: World) -> bool:
    name = world.make_cluster().name
    world.ml.compute.begin_delete(name).result()
    return name not in names(world.ml.compute.list())


def downloaded_model(world: World) -> bool:
    world.ml.models.download(world.model.name, "1", download_path=world.folder / "got")
    return len(list((world.folder / "got").rglob("*.jsonl"))) == 2


def downloaded_job(world: World) -> bool:
    place = world.folder / "got-job"
    world.ml.jobs.download(world.job.name, download_path=place, all=True)
    return (place / "named-outputs/out/seen.txt").read_text() == "42"


def model_of_a_job(world: World) -> bool:
    path = f"azureml://jobs/{world.job.name}/outputs/out"
    made = world.make_model(path=path)
    world.ml.models.download(made.name, "1", download_path=world.folder / "of-job")
    return len(list((world.folder / "of-job").rglob("seen.txt"))) == 1


def streamed(world: World) -> bool:
    job = world.submit()
    world.ml.jobs.stream(job.name)
    return bool(world.ml.jobs.get(job.name).status == "Completed")


def cancelled(world: World) -> bool:
    sleeps = "python -c 'import threading; threading.Event().wait(600)'"
    job = world.submit(command=sleeps, inputs={}, outputs={}, code=None)
    world.ml.jobs.begin_cancel(job.name).result()
    return world.ended(job.name) == "Canceled"


def retagged_job(world: World) -> bool:
    job = world.ml.jobs.get(world.job.name)
    job.tags = {"seen": "yes"}
    world.ml.jobs.create_or_update(job)
    return bool(world.ml.jobs.get(job.name).tags["seen"] == "yes")


def on_a_cluster(world: World) -> bool:
    job = world.submit(compute=world.cluster)
    return world.ended(job.name) == "Completed"


def two_steps(world: World) -> Any:
    from azure.ai.ml.dsl import pipeline

    component = world.ml.components.get(world.component.name, version="1")

    @pipeline(name="two_steps")
    def both() -> dict[str, Any]:
        first, second = component(number=1), component(number=2)
        second.compute = first.compute = "serverless"
        return {"last": second.outputs.out}

    job = both()
    job.name = fresh("pipe")
    return job


def submitted_pipeline(world: World) -> Any:
    return world.ml.jobs.create_or_update(two_steps(world), experiment_name="calls")


def ran_a_pipeline(world: World) -> bool:
    return world.ended(submitted_pipeline(world).name) == "Completed"


def children(world: World) -> bool:
    job = submitted_pipeline(world)
    world.ended(job.name)
    return len(list(world.ml.jobs.list(parent_job_name=job.name))) == 2


def deleted_endpoint(world: World) -> bool:
    name = world.make_endpoint()
    world.ml.online_endpoints.begin_delete(name).result()
    return name not in names(world.ml.online_endpoints.list())


def green(world: World) -> bool:
    """A second deployment, asked by name, scaled, deleted."""
    deployments = world.ml.online_deployments
    world.deployment  # noqa: B018  # blue is there before
    made = world.make_deployment("green")
    made.instance_count = 2
    deployments.begin_create_or_update(made).result()
    asked = world.ml.online_endpoints.invoke(
        world.endpoint, request_file=str(world.request), deployment_name="green"
    )
    scaled = deployments.get("green", world.endpoint).instance_count == 2
    deployments.begin_delete("green", world.endpoint).result()
    left = names(deployments.list(world.endpoint))
    return scaled and json.loads(asked) == DOUBLED and left == ["blue"]


def shifted(world: World) -> bool:
    endpoint = world.ml.online_endpoints.get(world.endpoint)
    world.deployment  # noqa: B018
    endpoint.traffic = {"blue": 100}
    world.ml.online_endpoints.begin_create_or_update(endpoint).result()
    return bool(world.ml.online_endpoints.get(world.endpoint).traffic == {"blue": 100})


def regenerated(world: World) -> bool:
    endpoints, name = world.ml.online_endpoints, world.endpoint
    before = endpoints.get_keys(name)
    endpoints.begin_regenerate_keys(name, key_type="primary").result()
    after = endpoints.get_keys(name)
    return before.primary_key != after.primary_key and before.secondary_key == (after.secondary_key)


def asked(world: World, **settings: Any) -> bool:
    world.deployment  # noqa: B018
    answer = world.ml.online_endpoints.invoke(
        world.endpoint, request_file=str(world.request), **settings
    )
    return bool(json.loads(answer) == DOUBLED)


LOGS = ("loading doubling", "Model 'model-")


def logs(world: World, says: str, **settings: Any) -> bool:
    """Whether a container's log says so, and not the other's."""
    name = world.deployment
    log = world.ml.online_deployments.get_logs(name, world.endpoint, lines=20, **settings)
    return [one in log for one in LOGS] == [one == says for one in LOGS]


def instance(world: World) -> Any:
    from azure.ai.ml.entities import ComputeInstance

    return ComputeInstance(name=fresh("ci"), size="Standard_DS3_v2")


def kubernetes() -> Any:
    from azure.ai.ml.entities import KubernetesCompute

    place = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c"
    return KubernetesCompute(name=fresh("k8s"), resource_id=place)


def blob_store() -> Any:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    return AzureBlobDatastore(
        name="other",
        account_name="account",
        container_name="container",
        credentials=AccountKeyConfiguration(account_key="a2V5"),
    )


def sweep(world: World) -> Any:
    from azure.ai.ml.sweep import Choice

    step = world.command(inputs={"number": 1})(number=Choice([1, 2]))
    job = step.sweep(primary_metric="loss", goal="minimize", sampling_algorithm="random")
    job.set_limits(max_total_trials=2)
    job.experiment_name = "calls"
    return world.ml.jobs.create_or_update(job)


def automl(world: World) -> Any:
    from azure.ai.ml import Input, automl

    table = world.make_data(path=str(world.mltable), type="mltable")
    job = automl.classification(
        training_data=Input(type="mltable", path=table.id),
        target_column_name="n",
        primary_metric="accuracy",
        experiment_name="calls",
    )
    return world.ml.jobs.create_or_update(job)


def spark(world: World) -> Any:
    from azure.ai.ml import spark

    job = spark(
        code=str(world.code),
        entry={"file": "main.py"},
        driver_cores=1, driver_memory="2g", executor_cores=2, executor_memory="2g",
        executor_instances=2,
        resources={"instance_type": "Standard_E4s_v3", "runtime_version": "3.4"},
        experiment_name="calls",
    )  # fmt: skip
    return world.ml.jobs.create_or_update(job)


def schedule(world: World) -> Any:
    from azure.ai.ml.entities import JobSchedule, RecurrenceTrigger

    trigger = RecurrenceTrigger(frequency="day", interval=1)
    wanted = JobSchedule(name=fresh("daily"), trigger=trigger, create_job=two_steps(world))
    return world.ml.schedules.begin_create_or_update(wanted).result()


def batch_endpoint() -> Any:
    from azure.ai.ml.entities import BatchEndpoint

    return BatchEndpoint(name=fresh("batch"))


def workspace(world: World) -> Any:
    return world.ml.workspaces.get(world.env["AZURE_WORKSPACE_NAME"])


COMPUTES: Sequence[Call] = [
    Call("compute.list_sizes", RIGHT, lambda w: SIZE in names(w.ml.compute.list_sizes())),
    Call(
        "compute.list_sizes(compute_type=)",
        RIGHT,
        lambda w: SIZE in names(w.ml.compute.list_sizes(compute_type="AmlCompute")),
    ),
    Call("compute.list_usage", RIGHT, lambda w: len(list(w.ml.compute.list_usage())) > 10),
    Call("compute.begin_create_or_update", RIGHT, lambda w: w.make_cluster().size == SIZE),
    Call(
        "compute.begin_create_or_update(low priority, which was retired)",
        RIGHT,
        lambda w: refused(lambda: w.make_cluster(tier="low_priority")),
    ),
    Call("compute.get", RIGHT, lambda w: w.ml.compute.get(w.cluster).max_instances >= 1),
    Call("compute.list", RIGHT, lambda w: w.cluster in names(w.ml.compute.list())),
    Call(
        "compute.list(compute_type=)",
        RIGHT,
        lambda w: w.cluster in names(w.ml.compute.list(compute_type="AMLCompute")),
    ),
    Call("compute.begin_update", RIGHT, scaled),
    Call("compute.list_nodes", RIGHT, lambda w: list(w.ml.compute.list_nodes(w.cluster)) == []),
    Call("compute.begin_delete", RIGHT, deleted_cluster),
    Call(
        "compute.begin_create_or_update(ComputeInstance)",
        MISSING,
        lambda w: w.ml.compute.begin_create_or_update(instance(w)).result(),
    ),
    Call(
        "compute.begin_attach(KubernetesCompute)",
        MISSING,
        lambda w: w.ml.compute.begin_attach(kubernetes()).result(),
    ),
    Call("compute.begin_start", MISSING, lambda w: w.ml.compute.begin_start(w.cluster).result()),
    Call("compute.begin_stop", MISSING, lambda w: w.ml.compute.begin_stop(w.cluster).result()),
    Call(
        "compute.begin_restart", MISSING, lambda w: w.ml.compute.begin_restart(w.cluster).result()
    ),
]
WORKSPACES: Sequence[Call] = [
    Call("workspaces.get", RIGHT, lambda w: workspace(w).location == "westeurope"),
    Call(
        "workspaces.get().mlflow_tracking_uri",
        RIGHT,
        lambda w: workspace(w).mlflow_tracking_uri.startswith("azureml://"),
    ),
    Call(
        "workspaces.list",
        RIGHT,
        lambda w: names(w.ml.workspaces.list()) == [w.env["AZURE_WORKSPACE_NAME"]],
    ),
    Call(
        "workspaces.list(scope=subscription)",
        MISSING,
        lambda w: names(w.ml.workspaces.list(scope="subscription")),
    ),
    Call(
        "workspaces.get_keys",
        MISSING,
        lambda w: w.ml.workspaces.get_keys(w.env["AZURE_WORKSPACE_NAME"]),
    ),
    Call(
        "workspaces.begin_sync_keys",
        MISSING,
        lambda w: w.ml.workspaces.begin_sync_keys(w.env["AZURE_WORKSPACE_NAME"]).result(),
    ),
    Call(
        "workspaces.begin_diagnose",
        MISSING,
        lambda w: w.ml.workspaces.begin_diagnose(w.env["AZURE_WORKSPACE_NAME"]).result(),
    ),
    Call("connections.list", MISSING, lambda w: list(w.ml.connections.list())),
    Call("datastores.get", RIGHT, lambda w: w.ml.datastores.get("workspaceblobstore").name),
    Call(
        "datastores.get(include_secrets=)",
        RIGHT,
        lambda w: (
            w.ml.datastores.get("workspaceblobstore", include_secrets=True).credentials.sas_token
        ),
    ),
    Call(
        "datastores.get_default",
        RIGHT,
        lambda w: w.ml.datastores.get_default().name == "workspaceblobstore",
    ),
    Call("datastores.list", RIGHT, lambda w: len(list(w.ml.datastores.list())) == 4),
    Call(
        "datastores.create_or_update",
        MISSING,
        lambda w: w.ml.datastores.create_or_update(blob_store()),
    ),
    Call("datastores.delete", MISSING, lambda w: w.ml.datastores.delete("workspacefilestore")),
]
DATA: Sequence[Call] = [
    Call("data.create_or_update(file)", RIGHT, lambda w: w.make_data().type == "uri_file"),
    Call(
        "data.create_or_update(folder)",
        RIGHT,
        lambda w: w.make_data(path=str(w.rows_folder), type="uri_folder").type == "uri_folder",
    ),
    Call(
        "data.create_or_update(mltable)",
        RIGHT,
        lambda w: w.make_data(path=str(w.mltable), type="mltable").type == "mltable",
    ),
    Call(
        "data.create_or_update(datastore path)",
        RIGHT,
        lambda w: w.make_data(path=w.data.path).path == w.data.path,
    ),
    Call(
        "data.create_or_update(next version)",
        RIGHT,
        lambda w: w.make_data(name=w.make_data(version=None).name, version=None).version == "2",
    ),
    Call("data.get", RIGHT, lambda w: w.ml.data.get(w.data.name, version="1").id == w.data.id),
    Call(
        "data.get(label=latest)",
        RIGHT,
        lambda w: w.ml.data.get(w.data.name, label="latest").version == "1",
    ),
    Call("data.list", RIGHT, lambda w: w.data.name in names(w.ml.data.list())),
    Call(
        "data.list(name=)",
        RIGHT,
        lambda w: [x.version for x in w.ml.data.list(w.data.name)] == ["1"],
    ),
    Call("data.create_or_update(tags)", RIGHT, lambda w: retagged(w.ml.data, w.make_data())),
    Call("data.archive(version=)", RIGHT, lambda w: archived(w.ml.data, w.make_data())),
    Call("data.archive", RIGHT, lambda w: archived_by_name(w.ml.data, w.make_data())),
]
MODELS: Sequence[Call] = [
    Call("models.create_or_update(folder)", RIGHT, lambda w: w.make_model().version == "1"),
    Call(
        "models.create_or_update(file)",
        RIGHT,
        lambda w: w.make_model(path=str(w.rows)).path.endswith("rows.jsonl"),
    ),
    Call(
        "models.create_or_update(mlflow folder)",
        RIGHT,
        lambda w: w.mlflow_model.type == "mlflow_model",
    ),
    Call("models.create_or_update(job output)", RIGHT, model_of_a_job),
    Call(
        "models.create_or_update(datastore path)",
        RIGHT,
        lambda w: w.make_model(path=w.model.path).path == w.model.path,
    ),
    Call(
        "models.create_or_update(next version)",
        RIGHT,
        lambda w: w.make_model(name=w.make_model(version=None).name, version=None).version == "2",
    ),
    Call("models.get", RIGHT, lambda w: w.ml.models.get(w.model.name, "1").id == w.model.id),
    Call(
        "models.get(label=latest)",
        RIGHT,
        lambda w: w.ml.models.get(w.model.name, label="latest").version == "1",
    ),
    Call("models.list", RIGHT, lambda w: w.model.name in names(w.ml.models.list())),
    Call(
        "models.list(name=)",
        RIGHT,
        lambda w: [x.version for x in w.ml.models.list(w.model.name)] == ["1"],
    ),
    Call("models.get(of MLflow's registry)", RIGHT, registered_by_mlflow),
    Call("models.download", RIGHT, downloaded_model),
    Call("models.create_or_update(tags)", RIGHT, lambda w: retagged(w.ml.models, w.make_model())),
    Call("models.archive(version=)", RIGHT, lambda w: archived(w.ml.models, w.make_model())),
    Call("models.archive", RIGHT, lambda w: archived_by_name(w.ml.models, w.make_model())),
]
ENVIRONMENTS: Sequence[Call] = [
    Call("environments.create_or_update", RIGHT, lambda w: w.make_environment().image == IMAGE),
    Call(
        "environments.get",
        RIGHT,
        lambda w: w.ml.environments.get(w.environment.name, version="1").image == IMAGE,
    ),
    Call(
        "environments.get(label=latest)",
        RIGHT,
        lambda w: w.ml.environments.get(w.environment.name, label="latest").version == "1",
    ),
    Call(
        "environments.list", RIGHT, lambda w: w.environment.name in names(w.ml.environments.list())
    ),
    Call(
        "environments.list(name=)",
        RIGHT,
        lambda w: [x.version for x in w.ml.environments.list(w.environment.name)] == ["1"],
    ),
    Call(
        "environments.create_or_update(tags)",
        RIGHT,
        lambda w: retagged(w.ml.environments, w.make_environment()),
    ),
    Call(
        "environments.archive(version=)",
        RIGHT,
        lambda w: archived(w.ml.environments, w.make_environment()),
    ),
    Call(
        "environments.archive",
        RIGHT,
        lambda w: archived_by_name(w.ml.environments, w.make_environment()),
    ),
]
COMPONENTS: Sequence[Call] = [
    Call("components.create_or_update", RIGHT, lambda w: w.make_component().version == "1"),
    Call(
        "components.get",
        RIGHT,
        lambda w: w.ml.components.get(w.component.name, version="1").inputs["number"].default,
    ),
    Call(
        "components.get(label=latest)",
        RIGHT,
        lambda w: w.ml.components.get(w.component.name, label="latest").version == "1",
    ),
    Call("components.list", RIGHT, lambda w: w.component.name in names(w.ml.components.list())),
    Call(
        "components.list(name=)",
        RIGHT,
        lambda w: [x.version for x in w.ml.components.list(name=w.component.name)] == ["1"],
    ),
    Call(
        "components.archive(version=)",
        RIGHT,
        lambda w: archived(w.ml.components, w.make_component()),
    ),
    Call(
        "components.archive", RIGHT, lambda w: archived_by_name(w.ml.components, w.make_component())
    ),
]
CARD = "Phi-3-mini-4k-instruct"
PIPELINE = "chat_completion_pipeline"
REGISTRIES: Sequence[Call] = [
    Call(
        "MLClient(registry_name=)", RIGHT, lambda w: w.registry("azureml-openai-oss").models.list()
    ),
    Call(
        "MLClient(registry_name=) of a registry that is not carried",
        MISSING,
        lambda w: w.registry("azureml-meta"),
    ),
    Call("registry.models.list", RIGHT, lambda w: CARD in names(w.azureml.models.list())),
    Call(
        "registry.models.list(name=)", RIGHT, lambda w: len(list(w.azureml.models.list(CARD))) > 1
    ),
    Call(
        "registry.models.get(label=latest)",
        RIGHT,
        lambda w: w.azureml.models.get(CARD, label="latest").tags["task"] == "chat-completion",
    ),
    Call(
        "registry.models.get",
        RIGHT,
        lambda w: w.azureml.models.get(CARD, version="7").id.endswith(f"{CARD}/versions/7"),
    ),
    Call(
        "registry.components.list", RIGHT, lambda w: PIPELINE in names(w.azureml.components.list())
    ),
    Call(
        "registry.components.get",
        RIGHT,
        lambda w: len(w.azureml.components.get(PIPELINE, label="latest").inputs) == 69,
    ),
    Call("registry.environments.list", MISSING, lambda w: list(w.azureml.environments.list())),
    Call("registry.data.list", MISSING, lambda w: list(w.azureml.data.list())),
]
JOBS: Sequence[Call] = [
    Call("jobs.create_or_update(command)", RIGHT, lambda w: w.job.status == "Completed"),
    Call("jobs.create_or_update(command on a cluster)", RIGHT, on_a_cluster),
    Call("jobs.create_or_update(pipeline)", RIGHT, ran_a_pipeline),
    Call("jobs.create_or_update(tags)", RIGHT, retagged_job),
    Call("jobs.validate", RIGHT, lambda w: w.ml.jobs.validate(w.command()).passed),
    Call("jobs.get", RIGHT, lambda w: w.ml.jobs.get(w.job.name).experiment_name == "calls"),
    Call("jobs.list", RIGHT, lambda w: w.job.name in names(w.ml.jobs.list())),
    Call("jobs.list(parent_job_name=)", RIGHT, children),
    Call("jobs.stream", RIGHT, streamed),
    Call("jobs.download", RIGHT, downloaded_job),
    Call("jobs.begin_cancel", RIGHT, cancelled),
    Call("jobs.archive", RIGHT, archived_job),
    Call("jobs.create_or_update(sweep)", MISSING, sweep),
    Call("jobs.create_or_update(automl)", MISSING, automl),
    Call("jobs.create_or_update(spark)", MISSING, spark),
]
SERVING: Sequence[Call] = [
    Call("online_endpoints.begin_create_or_update", RIGHT, lambda w: w.endpoint),
    Call(
        "online_endpoints.get",
        RIGHT,
        lambda w: w.ml.online_endpoints.get(w.endpoint).provisioning_state == "Succeeded",
    ),
    Call(
        "online_endpoints.list", RIGHT, lambda w: w.endpoint in names(w.ml.online_endpoints.list())
    ),
    Call(
        "online_endpoints.get_keys",
        RIGHT,
        lambda w: w.ml.online_endpoints.get_keys(w.endpoint).primary_key,
    ),
    Call("online_endpoints.begin_regenerate_keys", RIGHT, regenerated),
    Call("online_endpoints.get_keys(aml_token)", RIGHT, lambda w: w.credentials("aml_token") > 0),
    Call("online_endpoints.get_keys(aad_token)", RIGHT, lambda w: w.credentials("aad_token") > 0),
    Call("online_deployments.begin_create_or_update", RIGHT, lambda w: w.deployment == "blue"),
    Call("online_endpoints.begin_create_or_update(traffic)", RIGHT, shifted),
    Call(
        "online_deployments.get",
        RIGHT,
        lambda w: w.ml.online_deployments.get(w.deployment, w.endpoint).instance_type == SIZE,
    ),
    Call(
        "online_deployments.list",
        RIGHT,
        lambda w: w.deployment in names(w.ml.online_deployments.list(w.endpoint)),
    ),
    Call("online_deployments.get_logs", RIGHT, lambda w: logs(w, LOGS[0])),
    Call(
        "online_deployments.get_logs(storage-initializer)",
        RIGHT,
        lambda w: logs(w, LOGS[1], container_type="storage-initializer"),
    ),
    Call("online_endpoints.invoke", RIGHT, asked),
    Call(
        "online_endpoints.invoke(deployment_name=)",
        RIGHT,
        lambda w: asked(w, deployment_name=w.deployment),
    ),
    Call("online_deployments.begin_create_or_update(second, scaled), begin_delete", RIGHT, green),
    Call("online_endpoints.begin_delete", RIGHT, deleted_endpoint),
]
ELSEWHERE: Sequence[Call] = [
    Call("batch_endpoints.list", MISSING, lambda w: list(w.ml.batch_endpoints.list())),
    Call(
        "batch_endpoints.begin_create_or_update",
        MISSING,
        lambda w: w.ml.batch_endpoints.begin_create_or_update(batch_endpoint()).result(),
    ),
    Call("schedules.list", MISSING, lambda w: list(w.ml.schedules.list())),
    Call("schedules.begin_create_or_update", MISSING, schedule),
    Call("feature_sets.list", MISSING, lambda w: list(w.ml.feature_sets.list())),
    Call("serverless_endpoints.list", MISSING, lambda w: list(w.ml.serverless_endpoints.list())),
    Call(
        "marketplace_subscriptions.list",
        MISSING,
        lambda w: list(w.ml.marketplace_subscriptions.list()),
    ),
    Call("registries.list", MISSING, lambda w: list(w.ml.registries.list())),
]
GROUPS = {
    "workspace, datastores": WORKSPACES,
    "compute": COMPUTES,
    "data": DATA,
    "models": MODELS,
    "environments": ENVIRONMENTS,
    "components": COMPONENTS,
    "registries": REGISTRIES,
    "jobs": JOBS,
    "online endpoints": SERVING,
    "elsewhere": ELSEWHERE,
}
CALLS = [call for group in GROUPS.values() for call in group]


def table() -> str:
    """Markdown: what the README says of these calls; ``python -m`` this module prints it."""
    return "\n".join(_rows())


def _rows() -> Iterator[str]:
    right, missing = (sum(call.says == says for call in CALLS) for says in (RIGHT, MISSING))
    yield f"| {len(CALLS)} calls | {right} right | {missing} are 501 |"
    yield "| --- | --- | --- |"
    for name, calls in GROUPS.items():
        cells = [_names(calls, says) for says in (RIGHT, MISSING)]
        yield f"| {name} | {' | '.join(cells)} |".replace("|  |", "| |")


def _names(calls: Sequence[Call], says: str) -> str:
    return ", ".join(f"`{call.name}`" for call in calls if call.says == says)


if __name__ == "__main__":
    print(table())
