"""Good and bad requests, made from the schemas that they are held against."""

import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from emulator.protocol.descriptions import AZURE, Operation, api_versions, notation
from emulator.protocol.descriptions.operations import described

from .generated import breaks, good

#: MLflow's own protocol carries a whole value of no type here and there; ARM's is where rules are.
WRITING = [one for one in described(AZURE) if one.about.get("body")]
CASES = [(one, version) for one in WRITING for version in one.versions or ("",)]
LIMITS = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def asked(operation: Operation, version: str, body: object) -> list[str]:
    query = {"api-version": version} if version else {}
    found = operation.check_request(query, {}, body)
    return [str(one) for one in found if one.path.startswith("body")]


def name(case: object) -> str:
    return case.name if isinstance(case, Operation) else str(case)


@pytest.mark.parametrize(("operation", "version"), CASES, ids=name)
@LIMITS
@given(data=st.data())
def test_what_a_description_allows_is_accepted(operation, version, data):
    schema = operation.schema(version)

    body = data.draw(good(schema, schema["$defs"]))

    assert asked(operation, version, body) == []


@pytest.mark.parametrize(("operation", "version"), CASES, ids=name)
@LIMITS
@given(data=st.data())
def test_one_broken_rule_is_refused_with_the_fields_path(operation, version, data):
    schema = operation.schema(version)
    body = data.draw(good(schema, schema["$defs"]))
    one = data.draw(st.sampled_from(list(breaks(schema, schema["$defs"], body))))

    found = asked(operation, version, one.done(body))

    assert any(text.startswith(f"'{one.path}' is ") for text in found), (one, found)


@pytest.mark.parametrize("operation", [one for one in WRITING if one.versions], ids=name)
@given(body=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                         lambda inner: st.lists(inner, max_size=2)
                         | st.dictionaries(st.sampled_from(["properties", "sku", "x"]), inner),
                         max_leaves=6))  # fmt: skip
@LIMITS
def test_no_json_makes_the_check_itself_fail(operation, body):
    for one in operation.check_request({"api-version": operation.versions[-1]}, {}, body):
        assert one.path and one.given and one.allowed


VERSIONED = [one for one in described(AZURE) if one.versions]
COUNTED = [one for one in VERSIONED if re.search(r"integer|boolean", str(one.about.get("query")))]


@pytest.mark.parametrize("operation", VERSIONED, ids=name)
@LIMITS
@given(version=st.none() | st.text("0123456789-preview", max_size=18))
def test_a_version_that_azure_does_not_have_is_refused_before_anything_else(operation, version):
    known = api_versions.known(operation.template) | set(operation.versions)
    query = {} if version is None else {"api-version": version}
    assume(version not in known)

    (wrong,) = operation.check_request({**query, "colour": "red"}, {}, {"properties": 5})

    assert wrong.path == "query.api-version" and wrong.code != "InvalidRequestContent"


@pytest.mark.parametrize("operation", COUNTED, ids=name)
@LIMITS
@given(data=st.data())
def test_a_query_of_another_type_is_refused(operation, data):
    version = operation.versions[-1]
    declared = operation.about["query"].items()
    kinds = {key: notation.field(text).kind for key, text in declared}
    typed = [key for key, kind in kinds.items() if kind in ("integer", "boolean")]
    key = data.draw(st.sampled_from(typed))
    value = data.draw(st.text("xyz", min_size=1, max_size=5))

    found = operation.check_request({"api-version": version, key: value}, {}, None)

    told = f"'query.{key}' is the string {value!r}; it must be a"
    assert any(str(one).startswith(told) for one in found)
