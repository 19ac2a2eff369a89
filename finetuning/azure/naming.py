"""Names and tags as functions of the run, so that a repeated step finds what its first try made.

Azure's rules (checked against the service's documentation): an endpoint's name is 3 to 32
characters, begins with a letter, holds letters, digits and hyphens, ends with a letter or digit,
and is unique in its region. A job's name holds letters, digits, ``-`` and ``_`` (up to 255). A
model's name holds letters, digits, ``-``, ``_`` and ``.``; its version likewise (up to 30).
"""

from __future__ import annotations

import hashlib
import re

#: Letters of the data's name that an endpoint's name has room for.
DATA_LETTERS = 10
#: Letters of the model's name that a product endpoint's name has room for.
PRODUCT_LETTERS = 23


#: The names that ``next_attempt`` makes: a key has ten digits, so its own end is no number.
ATTEMPT_RULE = re.compile(r"(fine-tune-[0-9a-f]{10})-([2-9]|[1-9][0-9]+)")


ENDPOINT_RULE = re.compile(r"^[a-zA-Z]([-a-zA-Z0-9]{1,30})[a-zA-Z0-9]$")


def run_key(flow_run_id: str, chosen: str | None = None) -> str:
    """Return ten hex digits that name this run's resources.

    ``chosen`` is the caller's own key (``run.key``): two runs with the same one share their
    resources. Without it the flow run's id decides, which retries and restarts keep.
    """
    return hashlib.sha256((chosen or flow_run_id).encode()).hexdigest()[:10]


def job_name(key: str) -> str:
    """Return the name of the run's pipeline job: of the first attempt, if there are several."""
    return f"fine-tune-{key}"


def first_attempt(job: str) -> str:
    """Return the name of the first attempt of the run that a job is an attempt of."""
    return _attempt(job)[0]


def attempt_number(job: str) -> int:
    """Return which attempt of its run a job is; the first is 1 and has no number in its name."""
    return _attempt(job)[1]


def next_attempt(job: str) -> str:
    """Return the name of the attempt after this one: ``...-2``, ``...-3``."""
    first, number = _attempt(job)
    return f"{first}-{number + 1}"


def attempts_until(job: str) -> list[str]:
    """Return the names of a run's attempts, the first to this one."""
    first, number = _attempt(job)
    return [first, *(f"{first}-{one}" for one in range(2, number + 1))]


def _attempt(job: str) -> tuple[str, int]:
    found = ATTEMPT_RULE.fullmatch(job)
    return (found[1], int(found[2])) if found else (job, 1)


def endpoint_name(key: str, data: str, chosen: str | None = None) -> str:
    """Return the endpoint's name: at most 32 characters, unique in the region by its key.

    ``data`` is the short name of what the model was trained on.
    """
    return chosen or f"{short_name(data)}-completion-{key}"


def product_name(model: str, workspace: str, chosen: str | None = None) -> str:
    """Return the product endpoint's name: the same for every version of a registered model.

    ``workspace``: the id of the workspace, by which the name is unique in its region.
    """
    if chosen:
        return chosen
    words = re.sub(r"[^A-Za-z0-9]+", "-", model.lower()).strip("-")
    words = words if words[:1].isalpha() else f"m{words}"
    digest = hashlib.sha256(f"{workspace}/{model}".lower().encode()).hexdigest()[:8]
    return f"{words[:PRODUCT_LETTERS].strip('-')}-{digest}"


def short_name(data: str) -> str:
    """Return a dataset's name in an endpoint's letters, cut to what there is room for."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", data.lower()).strip("-")
    words = words if words[:1].isalpha() else f"d{words}"
    return words[:DATA_LETTERS].strip("-")


def registered_model_name(model: str, data: str, chosen: str | None = None) -> str:
    """Return the fine-tuned model's name, after model and data, in Azure's letters and length."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", chosen or f"{model}-{data.replace('_', '-')}")[:255]


def model_version(key: str) -> str:
    """Return the fine-tuned model's version, a function of the run (the tutorial: of the clock)."""
    return key


def experiment_name(recipe: str, model: str, chosen: str | None = None) -> str:
    """Return the experiment under which the job runs, after the recipe and the model."""
    return (chosen or f"{recipe}_{model}").replace("/", "-")
