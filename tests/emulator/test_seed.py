"""A seed: taken from one emulator, started from by another, refused where it is broken."""

import copy
import json
import subprocess
import sys

import httpx
import pytest

from emulator.catalogue import load_catalogue
from emulator.catalogue.seed import FORMAT, BrokenSeed, read_seed, seeded
from emulator.seeding import NoSeed, Reader, address, assets, limits, token_of
from tests.conftest import ROOT, run_python
from tests.emulator.support.in_process import InProcess

#: The managed identity's token, as a shell gets it.
TOKEN = (
    "curl --silent --show-error --header 'X-IDENTITY-HEADER: {header}' "
    "'{endpoint}?api-version=2019-08-01&resource={{resource}}'"
)
ASSETS = [
    "--model=azureml/*",
    "--model=azureml-openai-oss/*",
    "--component=azureml/*",
    "--versions=99",
]
WORKSPACE = ["--subscription=s", "--resource-group=g", "--workspace=w"]
SEED = {
    "format": FORMAT,
    "sizes": [
        {
            "name": "Standard_ND128isr_X9",
            "family": "standardNDX9Family",
            "vCPUs": 128,
            "gpus": 8,
            "memoryGB": 2000.0,
            "lastSeen": "next year",
        }
    ],
    "limits": {
        "Standard NDX9 Family Cluster Dedicated vCPUs": 256,
        "Total Cluster LowPriority Regional vCPUs": 64,
    },
    "registries": {
        "azureml": {
            "models": [
                {
                    "name": "Phi-9",
                    "version": "3",
                    "created": "2027-01-01T00:00:00Z",
                    "properties": {
                        "modelType": "mlflow_model",
                        "tags": {"task": "chat-completion"},
                        "modelUri": "https://real.blob.core.windows.net/azureml/phi",
                        "carbonScore": {"grams": 12},
                    },
                }
            ],
            "components": [],
        }
    },
}


def taken_from(emulator, file, *options):
    env = emulator.env
    header, endpoint = env["IDENTITY_HEADER"], env["IDENTITY_ENDPOINT"]
    command = TOKEN.format(header=header, endpoint=endpoint)
    arguments = ["-m", "emulator", "seed", str(file), f"--token-command={command}", *options]
    return run_python(env, *arguments, seconds=120)


@pytest.fixture
def from_seed(tmp_path):
    """An in-process emulator that starts from a seed."""
    started = []

    def start(seed):
        file = tmp_path / "seed.json"
        file.write_text(json.dumps(seed))
        started.append(InProcess(tmp_path / f"state-{len(started)}", seed=file))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_an_emulator_that_is_seeded_from_another_offers_the_same(emulator, tmp_path):
    file = tmp_path / "seed.json"
    since = emulator.requests()[-1]["index"] if emulator.requests() else 0
    ran = taken_from(emulator, file, *ASSETS)
    assert ran.returncode == 0, ran.stderr
    asked = emulator.requests(after=since)
    whole, mine = load_catalogue(), seeded(load_catalogue(), read_seed(file))

    assert mine.vm_sizes == whole.vm_sizes
    assert (mine.quotas, mine.low_priority_quota) == (whole.quotas, whole.low_priority_quota)
    assert mine.not_carried == whole.not_carried
    for registry in whole.registries:
        again = mine.registry(registry.name)
        assert _by_version(again.models) == _by_version(registry.models)
        assert _by_version(again.components) == _by_version(registry.components)
    assert {one["method"] for one in asked} == {"GET"}
    assert emulator.env["AZURE_SUBSCRIPTION_ID"] not in file.read_text()


def _by_version(versions):
    return {(one["name"], one["version"]): one for one in versions}


def test_a_seed_has_the_newest_versions_of_what_is_named_and_nothing_else(emulator, tmp_path):
    file = tmp_path / "seed.json"
    ran = taken_from(emulator, file, "--model=azureml/Phi-3-mini-4k-instruct", "--versions=2")
    assert ran.returncode == 0, ran.stderr
    registry = read_seed(file)["registries"]["azureml"]
    newest = sorted(
        (one["created"], one["version"])
        for one in load_catalogue().registry("azureml").models
        if one["name"] == "Phi-3-mini-4k-instruct"
    )[-2:]

    assert sorted((one["created"], one["version"]) for one in registry["models"]) == newest
    assert registry["components"] == []


@pytest.mark.parametrize(
    "option, word",
    [
        ("--model=azureml/gpt-9", "gpt-9"),
        ("--model=azureml-meta/Llama-3", "501"),
        ("--model=private/Phi-4", "404"),
        ("--component=azureml/nothing", "nothing"),
    ],
)
def test_what_cannot_be_read_is_told_and_no_file_written(emulator, tmp_path, option, word):
    file = tmp_path / "seed.json"
    ran = taken_from(emulator, file, option)

    assert ran.returncode == 1
    assert word in ran.stderr and "Traceback" not in ran.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "file"),
        (["seed.json", *WORKSPACE[1:], "--model=azureml/Phi-4"], "--subscription"),
        (["seed.json", *WORKSPACE], "--model"),
        (["seed.json", *WORKSPACE, "--model=Phi-4"], "REGISTRY/NAME"),
        (["seed.json", *WORKSPACE, "--component=a/b/c"], "REGISTRY/NAME"),
        (["seed.json", *WORKSPACE, "--versions=0"], "from 1 up"),
    ],
)
def test_a_command_line_that_is_not_whole_is_refused(arguments, word):
    ran = run_python({}, "-m", "emulator", "seed", *arguments, seconds=60)

    assert ran.returncode == 2
    assert word in ran.stderr


@pytest.mark.parametrize(
    "program, word",
    [
        ("raise SystemExit('log in first')", "log in first"),
        ("print()", "printed none"),
        ("print('two words')", "printed none"),
        ("print('{')", "broken JSON"),
        ("print('{}')", "printed none"),
    ],
)
def test_a_token_command_that_gives_no_token_is_told(program, word):
    with pytest.raises(NoSeed, match=word):
        token_of(f'{sys.executable} -c "{program}"', "https://management.azure.com")


def test_a_token_command_that_is_not_there_is_told():
    with pytest.raises(NoSeed, match="no-such-program"):
        token_of("no-such-program", "https://management.azure.com")


def test_a_token_command_is_told_what_the_token_is_for():
    program = "import json,sys; print(json.dumps({'accessToken': sys.argv[1][::-1]}))"

    assert token_of(f'{sys.executable} -c "{program}" {{resource}}', "abc") == "cba"


def test_an_address_names_a_registry_and_an_asset():
    assert [address("azureml/Phi-4"), address("azureml/*")] == ["azureml/Phi-4", "azureml/*"]


def test_a_list_that_goes_on_elsewhere_is_not_followed_with_the_token():
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx.Response(200, json={"value": [], "nextLink": "https://elsewhere.test/models"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        reader = Reader("https://here.test", None, f"{sys.executable} -c print(1)", http)
        with pytest.raises(NoSeed, match="elsewhere"):
            assets(reader, "https://here.test/models", "*", 1)

    assert asked == ["here.test"]


def test_limits_are_the_subscriptions_not_those_of_its_workspaces():
    workspace = "/subscriptions/s/resourceGroups/g/providers/p/workspaces/w"
    rows = [
        {"id": "/subscriptions/s/usages/x", "name": {"value": "x"}, "limit": 8},
        {"id": f"{workspace}/usages/x", "name": {"value": "x"}, "limit": 2},
    ]

    assert limits(rows) == {"x": 8}


# -- starting from one


def test_a_size_that_nobody_knew_is_offered_with_its_own_limit(from_seed):
    azure = from_seed(SEED)
    location = f"/subscriptions/{azure.config.identity.subscription}/providers"
    location += "/Microsoft.MachineLearningServices/locations/westeurope"
    sizes = azure.ask("GET", f"{location}/vmSizes").json()["value"]
    new = {"vmSize": "Standard_ND128isr_X9", "scaleSettings": {"maxNodeCount": 2}}
    large = {"vmSize": "standard_nd128isr_x9", "scaleSettings": {"maxNodeCount": 3}}

    assert sizes == SEED["sizes"]
    assert azure.finish(azure.cluster("new", **new))["status"] == "Succeeded"
    failed = azure.finish(azure.cluster("large", **large))
    assert (failed["status"], failed["error"]["code"]) == ("Failed", "ClusterCoreQuotaReached")
    assert azure.cluster("old", vmSize="Standard_NC6s_v3").status_code == 400


def test_a_field_that_no_card_had_is_kept_and_no_address_of_azures_is(from_seed):
    azure = from_seed(SEED)
    mine = azure.config.identity
    place = f"/subscriptions/{mine.subscription}/resourceGroups/{mine.registry_group}/providers"
    place += "/Microsoft.MachineLearningServices/registries/azureml/models"
    (card,) = azure.ask("GET", f"{place}/Phi-9/versions").json()["value"]

    assert card["properties"]["carbonScore"] == {"grams": 12}
    assert card["properties"]["modelUri"].startswith("azureml://registries/azureml/")
    assert azure.ask("GET", f"{place}/Phi-4").status_code == 404


def test_a_registry_that_the_seed_has_not_is_no_longer_carried(from_seed):
    azure = from_seed(SEED)
    place = "/registrymanagement/v1.0/registries/{}/discovery"

    answers = [
        azure.at(azure.config.api_host, "GET", place.format(name)).status_code
        for name in ("azureml", "azureml-openai-oss", "private")
    ]
    assert answers == [200, 501, 404]


def test_a_component_that_has_no_programs_here_is_not_run(from_seed):
    seed = copy.deepcopy(SEED)
    spec = {"name": "text_generation_pipeline", "inputs": {}}
    about = {"name": spec["name"], "version": "1", "created": "2027-01-01T00:00:00Z"}
    seed["registries"]["azureml"]["components"] = [{**about, "properties": {"componentSpec": spec}}]
    azure = from_seed(seed)
    component = f"azureml://registries/azureml/components/{spec['name']}/versions/1"
    node = {"type": "pipeline", "componentId": component, "inputs": {}}
    body = {"properties": {"jobType": "Pipeline", "jobs": {"one": node}}}
    answer = azure.ask("PUT", "jobs/job-1", json=body)

    assert answer.status_code == 501
    assert "text_generation_pipeline" in answer.json()["error"]["message"]


def test_a_family_without_a_row_has_no_quota():
    seed = copy.deepcopy(SEED)
    seed["limits"] = {"standardNDX9Family": 7}
    assert seeded(load_catalogue(), seed).quotas == {"standardNDX9Family": 7}  # named by its id
    seed["limits"] = {"Something else": 7}

    assert seeded(load_catalogue(), seed).quotas == {"standardNDX9Family": 0}
    assert seeded(load_catalogue(), seed).low_priority_quota == 0


GONE = object()


def changed(*path, to=GONE):
    """The seed as text, with a value of it changed or gone."""
    seed = copy.deepcopy(SEED)
    place = seed
    for part in path[:-1]:
        place = place[part]
    if to is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(seed)


MODELS = ("registries", "azureml", "models")
CARD = SEED["registries"]["azureml"]["models"][0]


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "the whole"),
        (changed("format"), "format"),
        (changed("format", to=99), "format"),
        (changed("sizes"), "sizes"),
        (changed("sizes", to=[]), "sizes"),
        (changed("sizes", 0, "vCPUs"), "sizes/0"),
        (changed("sizes", 0, "vCPUs", to="many"), "sizes/0/vCPUs"),
        (changed("limits", "x", to="many"), "limits/x"),
        (changed("registries", to={}), "registries"),
        (changed(*MODELS, 0, "version"), "models/0"),
        (changed(*MODELS, 0, "version", to=3), "models/0/version"),
        (changed(*MODELS, to=[CARD, CARD]), "phi-9:3"),
        (changed("registries", "azureml", "components", to=[CARD]), "components/0"),
    ],
)
def test_a_broken_seed_is_refused_with_the_place(tmp_path, text, word):
    file = tmp_path / "seed.json"
    file.write_text(text)

    with pytest.raises(BrokenSeed, match=word):
        read_seed(file)


@pytest.mark.parametrize("seed", ["seed.json", "no-such-file.json"])
def test_an_emulator_with_a_broken_seed_says_so_and_does_not_start(tmp_path, seed):
    (tmp_path / "seed.json").write_text("{")
    command = [sys.executable, "-m", "emulator", "--state", str(tmp_path / "state")]
    command += ["--seed", str(tmp_path / seed)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 1
    assert seed in ran.stderr and "Traceback" not in ran.stderr
    assert ran.stdout == ""
