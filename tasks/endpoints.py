"""Endpoints: create, deploy, test, and delete, each safe to repeat in whatever state Azure is."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.retries import azure_step
from tasks.waiting import Patience, wait_until
from workspace.client import open_client, service_errors, state_text
from workspace.errors import (
    AnswerError,
    DataError,
    DeploymentFailed,
    EndpointError,
    EndpointLeftRunning,
    FineTuneError,
)
from workspace.naming import KEY_TAG
from workspace.settings import Settings
from workspace.types import Answer, Deadlines, EndpointChoice, Ownership, TestChoice

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

LOG_LINES = 40
MOVING = ("creating", "updating", "provisioning")


@azure_step("Create the endpoint", tags={"azure", "endpoint"})
def create_endpoint(settings: Settings, name: str, owner: Ownership, deadlines: Deadlines) -> str:
    """Return the name of an endpoint that is ready; without a deployment it costs nothing.

    One that an earlier try made is adopted in whatever state it is; one that is being deleted is
    waited for and made anew.

    Raises:
        EndpointError: the name belongs to somebody else, or Azure could not create it.
    """
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    client = open_client(settings)
    patience = _patience(deadlines, "deployment_minutes")
    found = _settled_endpoint(client, name, patience)
    if found is not None and (found.tags or {}).get(KEY_TAG) != owner.key:
        raise EndpointError(
            f"Endpoint '{name}' exists and is not this run's: it is left alone. "
            "Choose another run.endpoint.name, or leave it empty."
        )
    if found is None or _state(found) != "succeeded":
        endpoint = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=owner.tags)
        client.online_endpoints.begin_create_or_update(endpoint).wait(patience.deadline)
        found = _settled_endpoint(client, name, patience)
    elif {**(found.tags or {}), **owner.tags} != found.tags:  # adopted: whose, and until when
        found.tags = {**(found.tags or {}), **owner.tags}
        client.online_endpoints.begin_create_or_update(found).wait(patience.deadline)
        found = _settled_endpoint(client, name, patience)
    if found is None or _state(found) != "succeeded":
        state = _state(found) if found is not None else "gone"
        raise EndpointError(
            f"Endpoint '{name}' is {state} after its creation. Start the run again."
        )
    get_run_logger().info("endpoint %s is ready", name)
    return name


@azure_step("Deploy the fine-tuned model", tags={"azure", "endpoint", "costs"})
def deploy_model(
    settings: Settings,
    endpoint: str,
    choice: EndpointChoice,
    model: str,
    owner: Ownership,
    deadlines: Deadlines,
    spending: Callable[[], None] | None = None,
) -> str:
    """Return the name of the deployment that serves the model with all of the traffic.

    ``model`` is the registered model's id. A deployment that an earlier try made is adopted;
    a failed one is replaced under its own name. ``spending`` is called at every look and may raise
    to end the wait.

    Raises:
        DeploymentFailed: with Azure's reason and the last lines of the deployment's log.
    """
    client = open_client(settings)
    patience = _patience(deadlines, "deployment_minutes")
    found = _settled_deployment(client, endpoint, choice.deployment, patience)
    if found is not None and (_state(found) != "succeeded" or not _same(found.model, model)):
        get_run_logger().warning("deployment %s is %s: replaced", found.name, _state(found))
        client.online_deployments.begin_delete(choice.deployment, endpoint).wait(patience.deadline)
        found = None
    if found is None:
        _create_deployment(client, endpoint, choice, model, owner, patience, spending)
    _route_traffic(client, endpoint, choice.deployment, patience)
    return choice.deployment


def _create_deployment(
    client: MLClient,
    endpoint: str,
    choice: EndpointChoice,
    model: str,
    owner: Ownership,
    patience: Patience,
    spending: Callable[[], None] | None,
) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings
    from azure.core.exceptions import HttpResponseError

    if spending is not None:
        spending()  # what training spent since the last look counts before more is begun
    deployment = ManagedOnlineDeployment(
        name=choice.deployment,
        endpoint_name=endpoint,
        model=model,
        instance_type=choice.instance_type,
        instance_count=choice.instance_count,
        liveness_probe=ProbeSettings(initial_delay=choice.probe_initial_delay_s),
        request_settings=OnlineRequestSettings(request_timeout_ms=choice.request_timeout_ms),
        tags=owner.tags,
    )
    reason = "Azure gave no reason."
    try:
        coming = client.online_deployments.begin_create_or_update(deployment)

        def look() -> bool:
            if spending is not None:
                spending()
            return bool(coming.done())

        # The pause ends with the operation, which its own thread watches.
        watching = replace(patience, sleep=coming.wait)
        wait_until(f"Deployment '{choice.deployment}'", look, bool, watching)
        coming.wait()  # raises what the operation ended with
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code >= 400:
            raise  # the request itself was refused: its own words, and maybe worth repeating
        reason = str(error.message)
    made = _settled_deployment(client, endpoint, choice.deployment, patience)
    if made is None or _state(made) != "succeeded":
        raise DeploymentFailed(
            endpoint, choice.deployment, reason, _log_of(client, endpoint, choice)
        )


def _log_of(client: MLClient, endpoint: str, choice: EndpointChoice) -> str:
    from azure.core.exceptions import AzureError

    try:
        return str(client.online_deployments.get_logs(choice.deployment, endpoint, lines=LOG_LINES))
    except AzureError:  # the log is a comfort, not worth losing the failure's own reason for
        return ""


def _route_traffic(client: MLClient, endpoint: str, deployment: str, patience: Patience) -> None:
    found = client.online_endpoints.get(endpoint)
    if found.traffic != {deployment: 100}:
        found.traffic = {deployment: 100}
        client.online_endpoints.begin_create_or_update(found).wait(patience.deadline)
        _settled_endpoint(client, endpoint, patience)


@azure_step("Test the endpoint", tags={"azure", "endpoint"})
def test_endpoint(
    settings: Settings,
    endpoint: str,
    deployment: str,
    test_file: str,
    rows: int,
    choice: TestChoice,
) -> list[Answer]:
    """Ask the endpoint about rows of test_gen and show each answer beside its reference.

    ``test_file`` is a JSON Lines file in the tutorial's schema with ``rows`` rows.

    Raises:
        AnswerError: a request failed, or its answer is empty.
    """
    client = open_client(settings)
    picked = pick_rows(Path(test_file), rows, choice.rows, choice.seed)
    answers = [_ask(client, endpoint, deployment, messages, choice) for messages in picked]
    create_table_artifact(
        [answer.model_dump() for answer in answers],
        key="test-answers",
        description=f"What {endpoint} answered, beside the dataset's reference",
    )
    return answers


test_endpoint.__test__ = False  # type: ignore[attr-defined]  # a task, not a test


def pick_rows(file: Path, rows: int, wanted: int, seed: int) -> list[list[dict[str, str]]]:
    """Return the messages of ``wanted`` rows, chosen by ``seed``; the file is read line by line.

    Raises:
        DataError: the file has no rows, or a chosen row is broken (says which line).
    """
    if rows < 1:
        raise DataError(f"{file.name} has no rows to test with. Raise run.data.percentage.")
    chosen = set(random.Random(seed).sample(range(rows), min(wanted, rows)))
    picked = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number in chosen:
                picked.append(_messages(file, number + 1, line))
    return picked


def _messages(file: Path, number: int, line: str) -> list[dict[str, str]]:
    try:
        messages = json.loads(line)["messages"]
        return [{"role": one["role"], "content": one["content"]} for one in messages]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file.name}, line {number}: {type(error).__name__} {error} in 'messages'. "
            "Prepare the data again with run.data.refresh."
        ) from error


def split_turns(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Return what is sent, and the reference: the last assistant's turn and all before it."""
    last = max((i for i, one in enumerate(messages) if one["role"] == "assistant"), default=None)
    if last is None or last == 0:
        return messages, ""
    return messages[:last], messages[last]["content"]


def _ask(
    client: MLClient,
    endpoint: str,
    deployment: str,
    messages: list[dict[str, str]],
    choice: TestChoice,
) -> Answer:
    asked, reference = split_turns(messages)
    question = asked[-1]["content"]
    body = {
        "input_data": {
            "input_string": [asked],
            "parameters": choice.model_dump(exclude={"rows", "seed"}),
        },
        "params": {},
    }
    said = answer_text(_invoke(client, endpoint, deployment, body, question))
    if not said.strip():
        raise AnswerError(endpoint, question, "its answer is empty.")
    get_run_logger().info("asked %r, got %r", question[:80], said[:80])
    return Answer(question=question, reference=reference, answer=said)


def _invoke(
    client: MLClient, endpoint: str, deployment: str, body: dict[str, Any], question: str
) -> str:
    from azure.core.exceptions import HttpResponseError

    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder) / "sample_score.json"
        request.write_text(json.dumps(body), encoding="utf-8")
        try:
            return str(
                client.online_endpoints.invoke(
                    endpoint_name=endpoint, deployment_name=deployment, request_file=str(request)
                )
            )
        except HttpResponseError as error:
            if error.status_code in (408, 429, 502, 503, 504):
                raise  # repeated by the task: the scorer may be back in a while
            raise AnswerError(
                endpoint, question, f"HTTP {error.status_code}: {error.message}"
            ) from error


def answer_text(response: str) -> str:
    """Return the answer in a scoring response: a text, ``{"output": text}``, or a list of these."""
    try:
        found: Any = json.loads(response)
    except ValueError:
        return response
    if isinstance(found, list):
        found = found[0] if found else ""
    if isinstance(found, dict):
        found = found.get("output", "")
        found = found[0] if isinstance(found, list) and found else found
    return str(found or "")


@azure_step("Delete the endpoint", tags={"azure", "endpoint", "cleanup"})
def delete_endpoint(settings: Settings, name: str, owner: Ownership, deadlines: Deadlines) -> bool:
    """Delete the endpoint and wait until Azure says that it is gone. Return whether it was there.

    What is already gone is success. What is not this run's is left alone.

    Raises:
        EndpointLeftRunning: it is still there at the deadline; the reaper will try again.
    """
    client = open_client(settings)
    patience = _patience(deadlines, "deletion_minutes")
    if not remove_endpoint(client, name, owner.key, patience):
        return False
    get_run_logger().info("endpoint %s is gone", name)
    return True


def remove_endpoint(client: MLClient, name: str, key: str | None, patience: Patience) -> bool:
    """Delete the endpoint if it bears the run's key (None: any), and wait until it is gone."""
    found = _find_endpoint(client, name)
    if found is None or (key is not None and (found.tags or {}).get(KEY_TAG) != key):
        return False

    def look() -> Any | None:
        with service_errors(f"Delete endpoint '{name}'"):
            seen = _find_endpoint(client, name)
            if seen is not None and _state(seen) != "deleting":
                _begin_delete(client, name)
            return seen

    try:
        wait_until(f"Deleting endpoint '{name}'", look, lambda seen: seen is None, patience)
    except FineTuneError as error:
        create_markdown_artifact(
            f"## Endpoint `{name}` may still run and bill\n\n{error}",
            key="endpoint-left-running",
        )
        raise EndpointLeftRunning(name, str(error)) from error
    return True


def _begin_delete(client: MLClient, name: str) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    try:
        client.online_endpoints.begin_delete(name)
    except ResourceNotFoundError:
        return
    except HttpResponseError as error:
        if error.status_code != 409:  # something is still being done to it: asked again later
            raise


def _find_endpoint(client: MLClient, name: str) -> Any | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.online_endpoints.get(name)
    except ResourceNotFoundError:
        return None


def _find_deployment(client: MLClient, endpoint: str, name: str) -> Any | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.online_deployments.get(name, endpoint)
    except ResourceNotFoundError:
        return None


def _settled_endpoint(client: MLClient, name: str, patience: Patience) -> Any | None:
    """Return the endpoint once nothing is being done to it; None once it is not there."""

    def done(seen: Any | None) -> bool:
        return seen is None or _state(seen) not in (*MOVING, "deleting")

    def look() -> Any | None:
        with service_errors(f"Look at endpoint '{name}'"):
            return _find_endpoint(client, name)

    return wait_until(f"Endpoint '{name}'", look, done, patience)


def _settled_deployment(
    client: MLClient, endpoint: str, name: str, patience: Patience
) -> Any | None:
    """Return the deployment once nothing is being done to it; None once it is not there."""

    def done(seen: Any | None) -> bool:
        return seen is None or _state(seen) not in (*MOVING, "deleting")

    def look() -> Any | None:
        with service_errors(f"Look at deployment '{name}'"):
            return _find_deployment(client, endpoint, name)

    return wait_until(f"Deployment '{name}'", look, done, patience)


def _state(resource: Any) -> str:
    return state_text(resource.provisioning_state).lower()


def _same(deployed: Any, model: str) -> bool:
    return str(deployed).lower().endswith(model.lower().split("/workspaces/")[-1])


def _patience(deadlines: Deadlines, name: str) -> Patience:
    return Patience(
        deadline=getattr(deadlines, name) * 60,
        interval=min(deadlines.poll_seconds, 10),
        outage=deadlines.outage_minutes * 60,
        parameter=f"run.deadlines.{name}",
    )
