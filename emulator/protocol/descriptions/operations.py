"""Operations: which one a request means, and what its description says against an exchange."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from jsonschema.protocols import Validator

from emulator.protocol.descriptions import api_versions, files, notation
from emulator.protocol.descriptions.violations import Violation, validator, violations

AZURE = "azure"  # management.azure.com and the regions' hosts
STORAGE = "storage"
IDENTITY = "identity"
PLANES = {
    AZURE: ("resource_manager", "data_plane"),
    STORAGE: ("storage",),
    IDENTITY: ("identity",),
}
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")
PROVIDER = "/providers/Microsoft.MachineLearningServices"
GROUP = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}" + PROVIDER
PLACES = {
    "{WORKSPACE}": GROUP + "/workspaces/{workspaceName}",
    "{REGISTRY}": GROUP + "/registries/{registryName}",
    "{LOCATION}": "/subscriptions/{subscriptionId}" + PROVIDER + "/locations/{location}",
    "{GROUP}": GROUP,
}
#: The regions' hosts answer ARM's paths below this prefix too (azure-ai-ml's _registry_utils.py).
MFE = "/mferp/managementfrontend"
#: What ARM lets a resource have beside ``properties``; it refuses any other member itself, before
#: the provider sees the body ("Could not find member ... on object of type 'ResourceDefinition'").
ENVELOPE = {
    "id", "name", "type", "location", "tags", "properties", "kind", "sku", "identity", "plan",
    "zones", "managedBy", "etag", "scale", "extendedLocation", "systemData", "apiVersion", "asset",
    "comments", "dependsOn", "condition",
}  # fmt: skip
POLLING = ("azure-asyncoperation", "location")
BAD_QUERY = "InvalidQueryParameter"
MOST_SLASHES = 40  # no template has more; a blob's name may


@dataclass(frozen=True)
class Operation:
    """One described operation; ``find`` adds the values of the path's names and the api-version."""

    name: str
    method: str
    template: str
    plane: str
    file: str
    about: dict[str, Any] = field(repr=False)
    values: dict[str, str] = field(default_factory=dict)
    version: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """The api-versions that the file describes, the oldest first; none outside ARM."""
        listed = self.about.get("versions") or files.content(self.plane, self.file).get("versions")
        return tuple(listed or ())

    @property
    def is_arm(self) -> bool:
        return self.plane == "resource_manager"

    def described(self, version: str) -> str:
        """The described api-version that speaks for ``version``: itself, or the next newer one."""
        newer = [one for one in self.versions if one >= version]
        return newer[0] if newer else (self.versions or ("",))[-1]

    def check_request(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> list[Violation]:
        """Everything that the description forbids: api-version, names, query, headers, body."""
        version = query.get("api-version", "")
        wrong = self._check_version(query)
        if wrong and self.versions:
            return wrong  # ARM looks no further
        described = self.described(version)
        found = self._check_names(described) + self._check_query(query, described)
        found += self._check_headers(headers or {}, described)
        return found + self._check_body(body, described)

    def check_response(
        self, status: int, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> list[Violation]:
        """Everything in an answer that the description contradicts."""
        answers = self.about.get("answers") or {}
        if status >= 400:
            return self._check_error(body)
        if status not in answers:
            declared = ", ".join(str(one) for one in answers)
            return [Violation("status", str(status), f"the declared ones are {declared}")]
        answer = answers[status] or {}
        found = _check_polling(answer, headers or {})
        found += _check_must(answer, headers or {})
        if answer.get("body") and self.method != "HEAD":
            if body is None:
                return [*found, Violation("body", "missing", f"it is a {answer['body']}")]
            checked = self._validator(answer["body"], self.described(self.version), request=False)
            found += violations(checked, body, "body")
        return found

    def schema(self, version: str = "") -> dict[str, Any]:
        """The JSON Schema of the request's body; empty where the operation takes none."""
        text = self.about.get("body")
        described = self.described(version)
        return _schema(self.plane, self.file, text, described, True) if text else {}

    # -- requests

    def _check_version(self, query: Mapping[str, str]) -> list[Violation]:
        if not self.versions:
            return []
        given = query.get("api-version")
        if given in self.versions:
            return []
        return api_versions.check(given, api_versions.known(self.template) | set(self.versions))

    def _check_names(self, version: str) -> list[Violation]:
        declared = {name: notation.field(text) for name, text in self._declared("path").items()}
        found: list[Violation] = []
        for name, about in declared.items():
            checked = self._validator_of(about, version)
            found += violations(checked, self.values.get(name, ""), f"path.{name}")
        return found

    def _check_query(self, query: Mapping[str, str], version: str) -> list[Violation]:
        declared = self._fields("query", version)
        fixed = set(self.about.get("when") or {})
        found = []
        for name, text in query.items():
            if name in fixed or (name.lower() == "api-version" and name not in declared):
                continue
            key = next((one for one in declared if one.lower() == name.lower()), None)
            if key is None:
                allowed = ", ".join(declared) or "none"
                given = f"the string {text!r}"
                told = f"the operation has the query parameters: {allowed}"
                found.append(Violation(f"query.{name}", given, told, BAD_QUERY))
            else:
                checked = self._validator_of(declared[key], version)
                value = _read(text, declared[key].kind)
                found += violations(checked, value, f"query.{key}", BAD_QUERY)
        given_names = {name.lower() for name in query}
        for key, about in declared.items():
            if about.required and key.lower() not in given_names:
                found.append(Violation(f"query.{key}", "missing", "it is required", BAD_QUERY))
        return found

    def _check_headers(self, headers: Mapping[str, str], version: str) -> list[Violation]:
        lower = {name.lower(): text for name, text in headers.items()}
        found = []
        for key, about in self._fields("headers", version).items():
            text = lower.get(key.lower())
            if text is not None:
                checked = self._validator_of(about, version)
                found += violations(checked, _read(text, about.kind), f"headers.{key}")
            elif about.required:
                found.append(Violation(f"headers.{key}", "missing", "it is required"))
        return found

    def _check_body(self, body: Any, version: str) -> list[Violation]:
        text = self.about.get("body")
        if text is None:
            return []
        if body is None:
            must = notation.field(text).has("required")
            return [Violation("body", "missing", "it is required")] if must else []
        found = violations(self._validator(text, version, request=True), body, "body")
        if self.is_arm and self.method in ("PUT", "PATCH") and isinstance(body, dict):
            found += [
                Violation(f"body.{name}", "unknown", "a resource has no such member")
                for name in sorted(set(body) - ENVELOPE)
            ]
        return found

    # -- answers

    def _check_error(self, body: Any) -> list[Violation]:
        text = self.about.get("errors") or files.content(self.plane, self.file).get("errors")
        text = text or "ErrorResponse"
        if text == "none" or self.method == "HEAD" or body is None:
            return []  # recordings have errors without a body (a compute that is not there)
        checked = self._validator(text, self.described(self.version), request=False)
        return violations(checked, body, "body")

    # -- schemas

    def _declared(self, part: str) -> dict[str, str]:
        found: dict[str, str] = self.about.get(part) or {}
        return found

    def _fields(self, part: str, version: str) -> dict[str, notation.Field]:
        shared = files.content(self.plane, self.file).get(part) or {}
        texts = shared | self._declared(part)
        rules = notation.Compiler({"": texts}, version, self.versions, True)
        return rules.fields("") if texts else {}

    def _validator(self, text: str, version: str, *, request: bool) -> Validator:
        return _validator(self.plane, self.file, text, version, request)

    def _validator_of(self, about: notation.Field, version: str) -> Validator:
        return _field_validator(self.plane, self.file, about, version)


def _read(text: str, kind: str) -> Any:
    """A query's or header's text as the type that is declared; the text itself if it is none."""
    if kind.startswith("["):
        return text.split(",")
    if kind == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if kind == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def _check_polling(answer: Mapping[str, Any], headers: Mapping[str, str]) -> list[Violation]:
    """Where a description tells where to poll, an answer must name one of the places."""
    declared = [name for name in answer.get("headers") or [] if name.lower() in POLLING]
    given = {name.lower() for name in headers}
    if declared and not given & set(POLLING):
        names = " or ".join(declared)
        return [Violation("headers", "without a place to poll", f"it must have {names}")]
    return []


def _check_must(answer: Mapping[str, Any], headers: Mapping[str, str]) -> list[Violation]:
    given = {name.lower() for name in headers}
    must = answer.get("must") or []
    return [
        Violation(f"headers.{name}", "missing", "every such answer has it")
        for name in must
        if name.lower() not in given
    ]


@cache
def _compiler(plane: str, file: str, version: str, request: bool) -> notation.Compiler:
    known = tuple(files.content(plane, file).get("versions") or ())
    return notation.Compiler(files.types(plane, file), version, known, request)


@cache
def _document(plane: str, file: str, version: str, request: bool) -> dict[str, Any]:
    return _compiler(plane, file, version, request).document()


def _schema(plane: str, file: str, text: str, version: str, request: bool) -> dict[str, Any]:
    schema = _compiler(plane, file, version, request).schema(notation.field(text))
    return {**schema, "$defs": _document(plane, file, version, request)}


@cache
def _validator(plane: str, file: str, text: str, version: str, request: bool) -> Validator:
    return validator(_schema(plane, file, text, version, request), request=request)


@cache
def _field_validator(plane: str, file: str, about: notation.Field, version: str) -> Validator:
    schema = _compiler(plane, file, version, True).schema(about)
    return validator({**schema, "$defs": _document(plane, file, version, True)}, request=True)


# -- finding


@dataclass(frozen=True)
class _Route:
    operation: Operation
    pattern: re.Pattern[str]


def _expand(template: str) -> str:
    for name, place in PLACES.items():
        template = template.replace(name, place)
    return template


def _pattern(template: str) -> re.Pattern[str]:
    """``{name}`` is one segment, ``{name:path}`` is the rest; names of hosts do not matter."""
    parts = re.split(r"(\{\w+(?::path)?\})", template)
    text = ""
    for part in parts:
        if part.startswith("{"):
            name, _, rest = part[1:-1].partition(":")
            text += f"(?P<{name}>.+)" if rest else f"(?P<{name}>[^/]+)"
        else:
            text += re.escape(part)
    return re.compile(text, re.IGNORECASE)


def _described(plane: str, file: str) -> list[Operation]:
    found = []
    for name, about in (files.content(plane, file).get("operations") or {}).items():
        method = next(one for one in METHODS if one in about)
        found.append(Operation(name, method, _expand(about[method]), plane, file, about))
    return found


@cache
def described(service: str = AZURE) -> tuple[Operation, ...]:
    """Every described operation of a service."""
    return tuple(
        operation
        for plane in PLANES[service]
        for file in files.names(plane)
        for operation in _described(plane, file)
    )


@cache
def _routes(service: str, method: str, slashes: int) -> tuple[_Route, ...]:
    """The operations that a path of so many slashes can mean; the more one says, the earlier."""
    wanted = [
        one
        for one in described(service)
        if one.method == method
        and (one.template.count("/") == slashes or one.template.endswith(":path}"))
    ]
    wanted.sort(key=lambda one: (one.template.count("{"), -len(one.about.get("when") or {})))
    return tuple(_Route(one, _pattern(one.template)) for one in wanted)


def _meant(about: dict[str, Any], query: Mapping[str, str]) -> bool:
    """Storage tells its operations apart by query: ``when: {comp: list}``, null where absent."""
    return all(query.get(name) == value for name, value in (about.get("when") or {}).items())


def find(
    method: str, path: str, query: Mapping[str, str] | None = None, *, service: str = AZURE
) -> Operation | None:
    """The operation that a request means, if it is described; paths are compared without case."""
    path = path[len(MFE) :] if path.lower().startswith(MFE) else path
    wanted = method.upper()
    for route in _routes(service, wanted, min(path.count("/"), MOST_SLASHES)):
        match = route.pattern.fullmatch(path)
        if match and _meant(route.operation.about, query or {}):
            version = (query or {}).get("api-version", "")
            return replace(route.operation, values=match.groupdict(), version=version)
    if wanted == "HEAD" and (get := find("GET", path, query, service=service)):
        return replace(get, method="HEAD")
    return None
