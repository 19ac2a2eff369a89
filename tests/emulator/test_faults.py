"""Faults on purpose and the journal, over the emulator's own sockets: what a client sees."""

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

VERSION = "api-version=2023-08-01-preview"


@pytest.fixture
def client(emulator):
    """A client of Azure's hosts, through the proxy, with a token."""
    env = emulator.env
    with httpx.Client(trust_env=False) as plain:
        token = plain.get(
            env["IDENTITY_ENDPOINT"],
            params={"resource": f"https://{host_of(env)}"},
            headers={"X-IDENTITY-HEADER": env["IDENTITY_HEADER"]},
        ).json()["access_token"]
    context = ssl.create_default_context(cafile=env["REQUESTS_CA_BUNDLE"])
    workspace = (
        f"https://{host_of(env)}/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/"
        f"{env['AZURE_RESOURCE_GROUP']}/providers/Microsoft.MachineLearningServices/workspaces/"
        f"{env['AZURE_WORKSPACE_NAME']}/"
    )
    with httpx.Client(
        params=VERSION,
        trust_env=False,
        proxy=env["HTTPS_PROXY"],
        verify=context,
        base_url=workspace,
        headers={"Authorization": f"Bearer {token}", "User-Agent": "the-test"},
        timeout=20,
    ) as found:
        yield found


def host_of(env):
    return env["ARM_CLOUD_METADATA_URL"].split("/")[2]


def cluster(client, name):
    inner = {"vmSize": "Standard_NC24ads_A100_v4", "scaleSettings": {"maxNodeCount": 1}}
    body = {"properties": {"computeType": "AmlCompute", "properties": inner}}
    return client.put(f"computes/{name}", json=body)


def is_there(client, name):
    return client.get(f"computes/{name}").status_code == 200


def test_a_status_with_retry_after_comes_as_often_as_it_was_told(client, emulator):
    emulator.add_fault(
        kind="status", method="GET", path="/computes$", status=429, retry_after=7, times=2, skip=1,
        code="TooManyRequests", message="slow down",
    )  # fmt: skip
    answers = [client.get("computes") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert answers[1].json() == {"error": {"code": "TooManyRequests", "message": "slow down"}}


def test_a_reset_before_leaves_nothing_done(client, emulator):
    emulator.add_fault(kind="reset_before", method="PUT", path="/computes/")
    with pytest.raises(httpx.TransportError):
        cluster(client, "never-made")

    assert not is_there(client, "never-made")


def test_a_reset_after_leaves_it_done(client, emulator):
    emulator.add_fault(kind="reset_after", method="PUT", path="/computes/")
    with pytest.raises(httpx.TransportError):
        cluster(client, "made-unseen")

    assert is_there(client, "made-unseen")


def test_a_time_out_ends_without_an_answer(client, emulator):
    emulator.add_fault(kind="timeout", path="/computes$", seconds=0.2)
    with pytest.raises(httpx.TransportError):
        client.get("computes")

    assert client.get("computes").status_code == 200


@pytest.mark.parametrize("kind, there", [("hold_before", False), ("hold_after", True)])
def test_a_held_request_goes_on_when_it_is_released(client, emulator, kind, there):
    name = kind.replace("_", "-")
    fault = emulator.add_fault(kind=kind, method="PUT", path="/computes/")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cluster, client, name)
        held = emulator.ask("GET", f"faults/{fault['id']}?wait=10")
        during = is_there(client, name)
        waiting = not asked.done()
        emulator.ask("POST", f"faults/{fault['id']}/release")
        answer = asked.result(10)

    assert held["hit"] and waiting
    assert during is there
    assert answer.status_code == 201


def test_a_held_request_that_is_dropped_never_reaches_the_service(client, emulator):
    fault = emulator.add_fault(kind="hold_before", method="PUT", path="/computes/")
    failures = []

    def ask():
        try:
            cluster(client, "dropped")
        except httpx.TransportError as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    emulator.ask("GET", f"faults/{fault['id']}?wait=10")
    emulator.ask("POST", f"faults/{fault['id']}/release?drop=true")
    asking.join(10)

    assert failures
    assert not is_there(client, "dropped")


def test_the_identity_endpoint_fails_like_any_other(emulator):
    emulator.add_fault(kind="status", path="/msi/token", status=503)
    emulator.add_fault(kind="reset_before", path="/msi/token")
    ask = (emulator.env["IDENTITY_ENDPOINT"],)
    with httpx.Client(trust_env=False) as plain:
        assert plain.get(*ask).status_code == 503
        with pytest.raises(httpx.TransportError):
            plain.get(*ask)
        assert plain.get(*ask).status_code == 401


def test_the_journal_tells_what_was_asked_by_whom_and_answered(client, emulator):
    before = emulator.requests()[-1]["index"]
    emulator.add_fault(kind="reset_before", path="/computes$", times=1)
    with pytest.raises(httpx.TransportError):
        client.get("computes")
    client.get("computes/nowhere")
    first, second = emulator.requests(after=before)

    assert (first["status"], first["fault"]) == (0, "reset_before")
    assert (second["method"], second["status"], second["query"]) == ("GET", 404, VERSION)
    assert second["path"].endswith("/computes/nowhere")
    assert (second["actor"], second["host"]) == ("the-test", host_of(emulator.env))


@pytest.mark.parametrize(
    "fault", [{"kind": "gremlins"}, {"kind": "status", "path": "("}, {"kind": "status", "color": 1}]
)
def test_a_fault_that_cannot_be_set_is_refused(emulator, fault):
    with pytest.raises(httpx.HTTPStatusError) as caught:
        emulator.add_fault(**fault)

    assert caught.value.response.json()["error"]["code"] == "BadFault"


def test_cleared_faults_let_go_of_what_they_hold(client, emulator):
    fault = emulator.add_fault(kind="hold_before", path="/computes$")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.get, "computes")
        emulator.ask("GET", f"faults/{fault['id']}?wait=10")
        emulator.clear_faults()

        assert asked.result(10).status_code == 200
