"""Every exchange of the tutorial's calls, by the unmodified SDK, held against the descriptions."""

import pytest

from emulator.protocol.verification import EXCEPTIONS
from tests.conftest import RunningEmulator
from tests.emulator import test_notebook_sequence as tutorial

from .recorded import Recorder, recording

notebook = tutorial.notebook
#: What no description covers: the container's own routes, and logs, which on Azure are blobs.
UNDESCRIBED = ("POST /score?", "/logs/")


def run_the_tutorial(folder, prefix: str) -> None:
    workspace, registry = tutorial.connect()
    model = registry.models.get(tutorial.MODEL, version="1")  # the label names a later card
    cluster = tutorial.provide_cluster(workspace)
    tutorial.download_splits(folder)
    gpus = tutorial.gpus(workspace, cluster.size)
    job = tutorial.submit(workspace, registry, model, folder, gpus)
    workspace.jobs.stream(job.name)
    tutorial.read_metrics(workspace, job.name)
    # A version of its own: the tutorial's own test may share this emulator.
    registered = tutorial.register(workspace, job.name, version="1700000001")
    try:
        tutorial.deploy(workspace, registered)
        tutorial.ask(workspace, folder)
        look_around(workspace, registry, job.name)
        workspace.jobs.download(job.name, download_path=str(folder / prefix))
    finally:
        workspace.online_endpoints.begin_delete(name=tutorial.ENDPOINT).wait()
    workspace.models.archive(registered.name, registered.version)


def look_around(workspace, registry, job: str) -> None:
    """What the tutorial's reader does beside it: every list there is, and the logs."""
    workspace.online_deployments.get_logs("demo", tutorial.ENDPOINT, lines=10)
    for listed in (
        workspace.online_endpoints.list(),
        workspace.online_deployments.list(tutorial.ENDPOINT),
        workspace.jobs.list(),
        workspace.jobs.list(parent_job_name=job),
        workspace.models.list(),
        workspace.compute.list(),
        workspace.compute.list_usage(),
        workspace.compute.list_nodes(tutorial.CLUSTER),
        workspace.data.list(),
        workspace.datastores.list(),
        workspace.workspaces.list(),
        registry.models.list(),
        registry.components.list(),
    ):
        list(listed)


def told(seen: Recorder) -> list[str]:
    known = [one for one in seen.findings if (one.operation, one.violation.path) not in EXCEPTIONS]
    return sorted({str(one) for one in known})


@pytest.mark.slow
def test_the_tutorials_exchanges_are_as_azure_describes_them(
    notebook: RunningEmulator, tmp_path, capfd
):
    with recording() as seen:
        run_the_tutorial(tmp_path, "downloads")

    assert told(seen) == []
    assert [one for one in seen.unknown if not any(part in one for part in UNDESCRIBED)] == []
    assert len(seen.checked) >= 45, "fewer operations than the tutorial has were seen"
