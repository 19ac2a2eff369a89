"""Orphans: the endpoints, deployments and jobs that bear our tags, and what was done about them.

Each is looked at by itself: what fails at one of them is said, and the others are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure.client import open_client
from finetuning.azure.ownership import RUN_TAG, Decision, Kind, Orphan, Orphans, read_tags, report
from finetuning.azure.product import Product, read_product
from finetuning.azure.service_errors import first_lines, service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError
from tasks.attempts import has_ended
from tasks.step import azure_step

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("List endpoints with our tags")
def find_endpoints(settings: Settings) -> Orphans:
    """Return every endpoint of the workspace that bears our tags."""
    client = open_client(settings)
    return _each("endpoint", client.online_endpoints.list, lambda one: _endpoint(client, one))


@azure_step("List what product endpoints keep beside what serves")
def find_spare_deployments(settings: Settings) -> Orphans:
    """Return the deployments of product endpoints that do not serve: candidates, and old ones."""
    client = open_client(settings)
    found: list[Orphan] = []
    problems: dict[str, str] = {}
    for endpoint in client.online_endpoints.list():
        product = read_product(str(endpoint.name), endpoint.tags)
        if product is not None and product.serving:
            spare = _each(
                "deployment",
                partial(client.online_deployments.list, product.name),
                partial(_spare, product, dict(endpoint.tags or {})),
            )
            found, problems = found + spare.found, problems | spare.problems
    return Orphans(found=found, problems=problems)


def _spare(product: Product, tags: dict[str, str], deployment: Any) -> Orphan | None:
    """Return a deployment as something that may go; never the one that serves.

    The one that is kept to go back to is the endpoint's, which says until when. Another one is its
    own run's: a candidate.
    """
    name, until = str(deployment.name), product.previous_until
    if name == product.serving:
        return None
    kept = name == product.previous and until is not None
    state, nodes = state_text(deployment.provisioning_state), float(deployment.instance_count or 1)
    whose = tags if kept else deployment.tags
    spare = read_tags("deployment", f"{product.name}/{name}", state, whose, nodes)
    if spare is None or not kept:
        return spare
    return spare.model_copy(update={"keep": True, "expires": until})


@azure_step("List jobs with our tags")
def find_jobs(settings: Settings) -> Orphans:
    """Return every unfinished job of the workspace that bears our tags."""
    client = open_client(settings)
    return _each("job", lambda: client.jobs.list(tag=RUN_TAG), _job)


def _each(
    kind: Kind, listing: Callable[[], Iterable[Any]], read: Callable[[Any], Orphan | None]
) -> Orphans:
    """Read what a listing shows, each by itself; what was seen before it broke off counts.

    Raises:
        FineTuneError: the listing broke off, and may not when it is asked for again.
    """
    found: list[Orphan] = []
    problems: dict[str, str] = {}
    doing = f"List {kind}s with our tags"
    try:
        with service_errors(doing):
            for one in listing():
                try:
                    ours = read(one)
                except Exception as error:  # whatever is odd about this one, the rest is looked at
                    problems[f"{kind} {getattr(one, 'name', '?')}"] = first_lines(error)
                else:
                    found += [ours] if ours is not None else []
    except FineTuneError as error:
        if error.transient:
            raise
        problems[f"the list of {kind}s"] = str(error)
    return Orphans(found=found, problems=problems)


def _endpoint(client: MLClient, endpoint: Any) -> Orphan | None:
    state = state_text(endpoint.provisioning_state)
    ours = read_tags("endpoint", str(endpoint.name), state, endpoint.tags, 0.0)
    if ours is None:  # nothing more is asked about what is not ours
        return None
    product = read_product(ours.name, endpoint.tags)
    serves = product is not None and bool(product.serving)
    return ours.model_copy(update={"nodes": _nodes(client, ours.name), "serves": serves})


def _nodes(client: MLClient, endpoint: str) -> float:
    """Return how many nodes an endpoint has; none where Azure does not tell: it is a comfort."""
    try:
        with service_errors(f"List the deployments of endpoint '{endpoint}'"):
            deployments = client.online_deployments.list(endpoint)
            return sum(float(one.instance_count or 1) for one in deployments)
    except FineTuneError as error:  # it is gone meanwhile, or its deployments cannot be listed
        get_run_logger().warning("nodes of endpoint %s are not counted: %s", endpoint, error)
        return 0.0


def _job(job: Any) -> Orphan | None:
    if job is None:  # of a kind that the SDK does not know
        return None
    state = state_text(job.status)
    if has_ended(state):
        return None
    return read_tags("job", str(job.name), state, job.tags, 1.0)


@azure_step("Report what was removed")
def publish_reaping(
    decisions: list[Decision], failures: Mapping[str, str], did: str = "removed"
) -> str:
    """Write an artifact that says of each resource what was done and why; return its text.

    ``did``: what was done with what goes: ``removed``, ``would be removed``, ``NOT removed``.
    """
    text = report(decisions, failures, did)
    create_markdown_artifact(text, key="reaped", description="What dead runs left behind")
    return text
