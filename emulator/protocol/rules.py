"""Azure's documented limits and rules, each with its source and its test."""

from dataclasses import dataclass, field
from typing import NamedTuple

QUOTAS = "MicrosoftDocs/azure-ai-docs: how-to-manage-quotas.md"
ROLLOUT = "MicrosoftDocs/azure-ai-docs: how-to-safely-rollout-online-endpoints.md"
CAPACITY = "MicrosoftDocs/azure-ai-docs: resource-limits-capacity.md"
AUTHENTICATION = "MicrosoftDocs/azure-ai-docs: how-to-authenticate-online-endpoint.md"
TROUBLE = "MicrosoftDocs/azure-ai-docs: how-to-troubleshoot-online-endpoints.md"
SCRIPTS = "MicrosoftDocs/azure-ai-docs: how-to-deploy-online-endpoints.md"
SPEC = "azure-rest-api-specs: Microsoft.MachineLearningServices"
SDK = "azure-ai-ml: entities/_deployment/online_deployment.py"

ENDPOINTS = 100  # of a region
DEPLOYMENTS = 500  # of a region
DEPLOYMENTS_OF_ENDPOINT = 20
INSTANCES = 50  # of a deployment
TIMEOUT_S = 180
MIRROR_PERCENT = 50
NODES = 100  # of a cluster, unless more are asked for


@dataclass(frozen=True)
class Limits:
    """How long the texts of a thing may be, and how many tags and properties it may have."""

    texts: dict[str, int] = field(
        default_factory=lambda: {"displayName": 256, "experimentName": 256, "description": 5000}
    )
    pairs: int = 50
    key: int = 100
    value: int = 1000


JOB_LIMITS = Limits()


class Rule(NamedTuple):
    """One row of the README's table; ``test`` is a test's name below ``tests/emulator``."""

    rule: str
    source: str
    test: str


RULES = (
    Rule(
        "a request has the types, required fields, values and names of its description",
        SPEC,
        "test_one_broken_rule_is_a_readable_400_and_leaves_nothing",
    ),
    Rule(
        "every request has an api-version that its type of resource has",
        "azure-docs: resource-manager error-register-resource-provider",
        "test_an_api_version_that_azure_does_not_have_is_refused",
    ),
    Rule(
        "a compute's name: 3 to 24 characters, letter first, not ending in a dash and digits",
        SPEC,
        "test_an_invalid_name_is_refused",
    ),
    Rule(
        "an endpoint's or deployment's name: 3 to 32 letters, digits and single dashes, letter "
        "first",
        QUOTAS,
        "test_an_invalid_name_is_refused",
    ),
    Rule(f"{ENDPOINTS} endpoints", QUOTAS, "test_there_are_no_more_endpoints_than_azure_has"),
    Rule(
        f"{DEPLOYMENTS_OF_ENDPOINT} deployments an endpoint, {DEPLOYMENTS} a region",
        QUOTAS,
        "test_an_endpoint_has_no_more_deployments_than_on_azure",
    ),
    Rule(
        f"1 to {INSTANCES} instances a deployment",
        QUOTAS,
        "test_a_deployment_that_azure_would_refuse_is_refused_at_once",
    ),
    Rule(
        f"a request takes at most {TIMEOUT_S} s",
        QUOTAS,
        "test_a_deployment_that_azure_would_refuse_is_refused_at_once",
    ),
    Rule(
        "a managed deployment scales by hand (Default)",
        SDK,
        "test_a_deployment_that_azure_would_refuse_is_refused_at_once",
    ),
    Rule(
        "traffic: shares of 0 to 100 that sum to 0 or 100, to deployments that are there",
        ROLLOUT,
        "test_traffic_names_deployments_and_sums_to_a_hundred",
    ),
    Rule(
        f"mirrored traffic: to one deployment without live traffic, at most {MIRROR_PERCENT} %",
        ROLLOUT,
        "test_traffic_is_mirrored_to_one_idle_deployment_by_half_at_most",
    ),
    Rule(
        "a request that names no deployment is copied to the mirrored one, its answer dropped",
        ROLLOUT,
        "test_a_mirrored_request_is_sent_to_the_shadow_and_answered_by_the_other",
    ),
    Rule(
        "a deployment with live traffic is not deleted",
        ROLLOUT,
        "test_a_deployment_with_traffic_is_not_deleted",
    ),
    Rule(
        "an endpoint's location and authMode are fixed, its properties are added to only",
        f"{SPEC} 2022-02-01-preview",
        "test_what_an_endpoint_was_made_with_stays",
    ),
    Rule(
        "a deployment's location and size are fixed",
        f"{SPEC} 2023-04-01-preview",
        "test_what_a_deployment_was_made_with_stays",
    ),
    Rule(
        "an endpoint has the credentials of its mode: keys, its own tokens, Entra ID's",
        AUTHENTICATION,
        "test_an_endpoint_has_the_credentials_of_its_mode_only",
    ),
    Rule(
        "an expired token, or one for something else, opens no endpoint: 401",
        AUTHENTICATION,
        "test_an_endpoints_token_opens_it_until_it_expires",
    ),
    Rule(
        "a container's answer that is not 200 is 424",
        TROUBLE,
        "test_a_script_that_fails_at_a_request_is_a_model_error",
    ),
    Rule(
        "a custom model wants a scoring script and an environment that are there",
        SCRIPTS,
        "test_a_deployment_that_names_what_is_not_there_fails",
    ),
    Rule(
        "a cluster's size, priority, location and local authentication are fixed",
        SPEC,
        "test_what_a_cluster_was_made_with_stays",
    ),
    Rule(
        f"0 to {NODES} nodes a cluster, the least not above the most",
        QUOTAS,
        "test_a_cluster_has_no_more_nodes_than_on_azure",
    ),
    Rule(
        "a cluster is deleted with underlyingResourceAction",
        SPEC,
        "test_a_cluster_is_deleted_with_a_word_about_its_machines_only",
    ),
    Rule(
        "a run's display name and experiment: 256 characters; description: 5,000",
        CAPACITY,
        "test_a_job_beyond_a_runs_limits_is_refused",
    ),
    Rule(
        "50 tags and 50 properties a run; keys of 100, values of 1,000 characters",
        CAPACITY,
        "test_a_job_beyond_a_runs_limits_is_refused",
    ),
    Rule(
        "a model's, data's or job's bytes, inputs and settings are fixed",
        SPEC,
        "test_a_versions_bytes_are_fixed_and_its_tags_are_not",
    ),
)


def table() -> str:
    """Markdown: rule, source, test."""
    rows = [f"| {one.rule} | {one.source} | `{one.test}` |" for one in RULES]
    return "\n".join(["| rule | source | test |", "| --- | --- | --- |", *rows])
