"""The Hub's HTTP shape: what ``huggingface_hub`` and ``datasets`` ask for to read a dataset.

Errors bear the Hub's headers (``X-Error-Code``), from which the client makes its exceptions.
Uploads, models and spaces are not here; the emulator's last route says so.
"""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from emulator.protocol.routing import Handler, Routes
from emulator.services.hub.hub import Hub
from emulator.services.hub.link import Fault
from emulator.services.hub.repositories import COMMITTED_AT, Commit, Repository, StoredFile
from emulator.services.hub.transfer import FileAnswer


class HubError(Exception):
    """An answer of the Hub that is not what was asked for."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        headers = {"X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message}, self.status, headers)


async def repository_of(hub: Hub, request: Request) -> Repository:
    """Return the repository that the path names, if the caller may see it."""
    name = f"{request.path_params['owner']}/{request.path_params['name']}"
    repository = await hub.find(name)
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if repository is None or (repository.token and not given):
        # The Hub does not tell a stranger whether a repository is private or not there.
        raise HubError(401 if not given else 404, "RepoNotFound", "Repository not found")
    if repository.token and not hmac.compare_digest(given, repository.token):
        raise HubError(403, "", "Forbidden: the token has no access to this repository.")
    return repository


def commit_of(request: Request, repository: Repository) -> Commit:
    """Return the commit that the path's revision names."""
    revision = unquote(request.path_params.get("revision", "main"))
    commit = repository.commit(revision)
    if commit is None:
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


async def get_info(hub: Hub, request: Request) -> Response:
    """Answer ``HfApi.dataset_info``, which resolves a revision to its commit."""
    repository = await repository_of(hub, request)
    commit = commit_of(request, repository)
    large = request.query_params.get("blobs", "").lower() in ("1", "true")
    return JSONResponse(
        {
            "_id": commit.id[:24],
            "id": repository.id,
            "author": repository.id.split("/")[0],
            "sha": commit.id,
            "lastModified": COMMITTED_AT,
            "createdAt": COMMITTED_AT,
            "private": repository.token is not None,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [
                {"rfilename": path, **(_blob(file) if large else {})}
                for path, file in sorted(commit.files.items())
            ],
        }
    )


def _blob(file: StoredFile) -> dict[str, Any]:
    described = _described(file)
    return {key: value for key, value in described.items() if key in ("size", "lfs")} | {
        "blobId": file.oid
    }


def _described(file: StoredFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "oid": file.oid,
        "size": file.size,
        "path": file.path,
    }
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


def _folder(commit: Commit, path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": commit.id, "size": 0, "path": path}


def _last_commit(commit: Commit) -> dict[str, Any]:
    return {"lastCommit": {"id": commit.id, "title": "Add the files", "date": COMMITTED_AT}}


async def get_tree(hub: Hub, request: Request) -> Response:
    """List a folder of a commit."""
    commit = commit_of(request, await repository_of(hub, request))
    path = unquote(request.path_params.get("path", "")).strip("/")
    recursive = request.query_params.get("recursive", "").lower() in ("1", "true")
    files, folders = commit.below(path, recursive=recursive)
    if not files and not folders:
        raise HubError(404, "EntryNotFound", f"{path} does not exist on this revision")
    entries = [_folder(commit, folder) for folder in folders] + [_described(file) for file in files]
    return JSONResponse(_expanded(request.query_params.get("expand", ""), commit, entries))


def _expanded(wanted: str, commit: Commit, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if wanted.lower() not in ("1", "true"):
        return entries
    return [entry | _last_commit(commit) for entry in entries]


async def post_paths_info(hub: Hub, request: Request) -> Response:
    """Describe the files and folders that a form or a JSON body names, but for unknown ones."""
    commit = commit_of(request, await repository_of(hub, request))
    body = (await request.body()).decode()
    if "json" in request.headers.get("content-type", ""):
        given = json.loads(body)
        paths, expand = given.get("paths", []), str(given.get("expand", ""))
    else:
        form = parse_qsl(body)
        paths = [value for key, value in form if key == "paths"]
        expand = dict(form).get("expand", "")
    _, folders = commit.below("", recursive=True)
    entries = [_described(commit.files[path]) for path in paths if path in commit.files]
    entries += [_folder(commit, path) for path in paths if path in folders]
    return JSONResponse(_expanded(expand, commit, entries))


async def get_refs(hub: Hub, request: Request) -> Response:
    """List the branches."""
    repository = await repository_of(hub, request)
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in repository.branches.items()
    ]
    return JSONResponse({"branches": branches, "tags": [], "converts": []})


async def get_commits(hub: Hub, request: Request) -> Response:
    """List the commit that a revision names, as one without ancestors."""
    commit = commit_of(request, await repository_of(hub, request))
    return JSONResponse(
        [
            {
                "id": commit.id,
                "title": "Add the files",
                "message": "",
                "date": COMMITTED_AT,
                "authors": [],
            }
        ]
    )


async def resolve(hub: Hub, request: Request) -> Response:
    """Answer a file's address: small files at once, large ones by a signed link elsewhere."""
    repository = await repository_of(hub, request)
    commit = commit_of(request, repository)
    file = _file_of(request, commit)
    headers = {"X-Repo-Commit": commit.id}
    if not file.sha256:
        return FileAnswer(hub.link, commit.folder / file.path, file, headers)
    signature = hub.sign(repository, commit, file)
    here = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
    where = f"{here}/_lfs/{repository.id}/{commit.id}/{quote(file.path)}?sig={signature}"
    return RedirectResponse(
        where,
        302,
        headers
        | {
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "Accept-Ranges": "bytes",
        },
    )


def _file_of(request: Request, commit: Commit) -> StoredFile:
    path = unquote(request.path_params["path"])
    if path not in commit.files:
        raise HubError(404, "EntryNotFound", "Entry not found")
    return commit.files[path]


async def get_large(hub: Hub, request: Request) -> Response:
    """Serve a large file to whoever holds a signed link, as the Hub's file store does."""
    name = f"{request.path_params['owner']}/{request.path_params['name']}"
    repository = hub.repositories.get(name)
    commit = repository.commit(request.path_params["revision"]) if repository else None
    if repository is None or commit is None:
        raise HubError(403, "", "The link is not valid.")
    file = _file_of(request, commit)
    given = request.query_params.get("sig", "")
    if not hmac.compare_digest(given, hub.sign(repository, commit, file)):
        raise HubError(403, "", "The link is not valid.")
    # Same host as the redirect came from, so the client follows it and wants the headers here too.
    headers = {"X-Repo-Commit": commit.id}
    return FileAnswer(hub.link, commit.folder / file.path, file, headers)


async def get_settings(hub: Hub, request: Request) -> Response:
    """Say how fast the line is, what it carried, and which faults wait. Not of the Hub: ours."""
    link = hub.link
    return JSONResponse(
        {
            "bytes_per_second": link.bytes_per_second,
            "sent": link.sent,
            "requests": link.requests,
            "faults": [vars(fault) for fault in link.faults],
        }
    )


async def put_settings(hub: Hub, request: Request) -> Response:
    """Set speed and faults (those that are given), and the counters to zero."""
    link, given = hub.link, await request.json()
    try:
        faults = [Fault(**fault) for fault in given.get("faults", [])]
    except (TypeError, ValueError) as error:
        return HubError(400, "", f"A fault that is none: {error}").response()
    if "faults" in given:
        link.faults = faults
    if "bytes_per_second" in given:
        link.bytes_per_second = given["bytes_per_second"]
    link.sent = link.requests = 0
    return await get_settings(hub, request)


def _answering(handler: Handler[Hub]) -> Handler[Hub]:
    """Count the request, and turn a ``HubError`` into its answer."""

    async def answer(hub: Hub, request: Request) -> Response:
        link = hub.link
        link.requests += 1
        try:
            response = await handler(hub, request)
        except HubError as error:
            response = error.response()
        if not isinstance(response, FileAnswer):  # which counts for itself, as it goes
            await link.carry(len(getattr(response, "body", b"")))
        return response

    return answer


API = "/api/datasets/{owner}/{name}"
ROUTES: Routes[Hub] = [
    ("GET", API, _answering(get_info)),
    ("GET", f"{API}/revision/{{revision:path}}", _answering(get_info)),
    ("GET", f"{API}/refs", _answering(get_refs)),
    ("GET", f"{API}/commits/{{revision}}", _answering(get_commits)),
    ("GET", f"{API}/tree/{{revision}}", _answering(get_tree)),
    ("GET", f"{API}/tree/{{revision}}/{{path:path}}", _answering(get_tree)),
    ("POST", f"{API}/paths-info/{{revision}}", _answering(post_paths_info)),
    ("GET", "/datasets/{owner}/{name}/resolve/{revision}/{path:path}", _answering(resolve)),
    ("GET", "/_lfs/{owner}/{name}/{revision}/{path:path}", _answering(get_large)),
    ("GET", "/_settings", get_settings),
    ("PUT", "/_settings", put_settings),
]
