"""What Azure refuses of an endpoint or a deployment, and what this emulator does not do."""

from typing import Any

from emulator.catalogue import Catalogue
from emulator.protocol import rules
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.resources import duration
from emulator.services.serving.endpoints import Serving

NOT_SERVED = ("modelMountPath", "dataCollector")


def check_endpoint(
    serving: Serving, name: str, given: dict[str, Any], known: dict[str, Any] | None
) -> None:
    """Raises ArmError 400 or NotEmulated."""
    if given.get("compute"):
        raise NotEmulated("an endpoint's compute: only managed endpoints serve.")
    if str(given.get("publicNetworkAccess") or "Enabled").lower() != "enabled":
        raise NotEmulated("an endpoint's publicNetworkAccess other than 'Enabled'.")
    if known is None and len(serving.endpoints()) >= rules.ENDPOINTS:
        raise _bad(
            f"The region has {rules.ENDPOINTS} endpoints; there can be no more.", "OutOfQuota"
        )
    if known is not None:
        _check_kept(known["properties"].get("properties") or {}, given.get("properties"))
    traffic, mirror = given.get("traffic") or {}, given.get("mirrorTraffic") or {}
    _check_there(serving, name, {**traffic, **mirror})
    _check_traffic(traffic)
    _check_mirror(mirror, traffic)


def check_fixed(known: dict[str, Any] | None, body: dict[str, Any], *fields: str) -> None:
    """Raises ArmError 400: a field of the resource or of its properties that cannot change."""
    if known is None:
        return
    given = {**(body.get("properties") or {}), "location": body.get("location")}
    before = {**known["properties"], "location": known["location"]}
    for name in fields:
        if str(given.get(name)).lower() != str(before.get(name)).lower():
            text = f"'{name}' is fixed: it is '{before.get(name)}' and not '{given.get(name)}'."
            raise _bad(text)


def _check_kept(before: dict[str, str], given: dict[str, str] | None) -> None:
    if given is None:
        return
    lost = sorted(name for name, value in before.items() if given.get(name) != value)
    if lost:
        raise _bad(f"Properties can be added, not removed or altered: {', '.join(lost)}.")


def _check_there(serving: Serving, endpoint: str, shares: dict[str, int]) -> None:
    for name in shares:
        if serving.deployment(endpoint, name) is None:
            raise _bad(f"Traffic names the deployment '{name}', which does not exist.")


def _check_traffic(traffic: dict[str, int]) -> None:
    if any(not 0 <= share <= 100 for share in traffic.values()):
        raise _bad("A share of the traffic is a percentage from 0 to 100.")
    if traffic and sum(traffic.values()) not in (0, 100):
        raise _bad("The traffic of all deployments must sum to 0 or 100.")


def _check_mirror(mirror: dict[str, int], traffic: dict[str, int]) -> None:
    live = {name.lower() for name, share in traffic.items() if share}
    if any(not 0 <= share <= rules.MIRROR_PERCENT for share in mirror.values()):
        raise _bad(f"Mirrored traffic is a percentage from 0 to {rules.MIRROR_PERCENT}.")
    mirrored = [name for name, share in mirror.items() if share]
    if len(mirrored) > 1:
        raise _bad("Traffic is mirrored to one deployment only.")
    if mirrored and mirrored[0].lower() in live:
        raise _bad(f"Deployment '{mirrored[0]}' has live traffic; none is mirrored to it.")


def check_count(serving: Serving, endpoint: str) -> None:
    """Raises ArmError 400: no room for one more deployment."""
    if len(serving.deployments(endpoint)) >= rules.DEPLOYMENTS_OF_ENDPOINT:
        text = f"Endpoint '{endpoint}' has {rules.DEPLOYMENTS_OF_ENDPOINT} deployments already."
        raise _bad(text, "OutOfQuota")
    if len(serving.deployments()) >= rules.DEPLOYMENTS:
        raise _bad(f"The region has {rules.DEPLOYMENTS} deployments already.", "OutOfQuota")


def check_lives(catalogue: Catalogue, size: str, now: float) -> None:
    """Raises ArmError 400: an instance type of which nothing new can be made at ``now``."""
    if since := catalogue.retired(size, now):
        raise _bad(f"Instance type '{size}' was retired on {since}; choose another.")


def check_deployment(catalogue: Catalogue, given: dict[str, Any], count: int) -> None:
    """Raises ArmError 400: what Azure refuses at once; NotEmulated: what is not served here."""
    if str(given.get("endpointComputeType")).lower() != "managed":
        raise NotEmulated(f"a deployment on '{given.get('endpointComputeType')}', not 'Managed'.")
    for name in NOT_SERVED:
        if given.get(name):
            raise NotEmulated(f"a deployment's {name}.")
    _check_script(given.get("codeConfiguration"), str(given.get("environmentId") or ""))
    if not 1 <= count <= rules.INSTANCES:
        raise _bad(f"The instance count {count} is not between 1 and {rules.INSTANCES}.")
    scale = str((given.get("scaleSettings") or {}).get("scaleType") or "Default")
    if scale.lower() != "default":
        raise _bad(f"A managed deployment's scaleType is 'Default', not '{scale}'.")
    model = str(given.get("model") or "")
    if not model or "/registries/" in model:
        raise NotEmulated(f"a deployment of '{model}': only models of the workspace are served.")
    size = str(given.get("instanceType") or "")
    if catalogue.vm_size(size) is None:
        raise _bad(f"Instance type '{size}' is not supported for managed online endpoints.")
    timeout = (given.get("requestSettings") or {}).get("requestTimeout")
    if timeout and not 0 < duration(timeout) <= rules.TIMEOUT_S:
        most = rules.TIMEOUT_S
        raise _bad(f"requestTimeout {timeout} is not between 1 millisecond and {most} seconds.")


def _check_script(code: dict[str, Any] | None, environment: str) -> None:
    """Raises ArmError 400: code without an environment; NotEmulated: what is not run here.

    Azure wants both: MicrosoftDocs/azure-ai-docs: how-to-deploy-mlflow-models-online-endpoints.md.
    """
    if "/registries/" in environment or "/registries/" in str((code or {}).get("codeId")):
        raise NotEmulated("a deployment's code or environment of a registry.")
    if code and not (code.get("codeId") and environment):
        raise _bad("A deployment with a scoring script needs its code and an environment.")
    if environment and not code:
        raise NotEmulated("a deployment's environment without a scoring script: a container.")


def _bad(text: str, code: str = "BadArgument") -> ArmError:
    return ArmError(400, code, text)
