"""The workspace's storage account: containers and blobs as folders and files on disk."""

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.store import Store

META, CONTAINERS = "blob", "container"
CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
DATASTORES = {"workspaceblobstore": "azureml-blobstore", "workspaceartifactstore": "azureml"}
#: The other two of every workspace: file shares, which are named and not emulated.
FILE_SHARES = {
    "workspacefilestore": "azureml-filestore",
    "workspaceworkingdirectory": "code",
}
SECOND = 1_000_000_000


@dataclass(frozen=True)
class About:
    """What a client says of a blob: content headers by their names, metadata, committed blocks.

    ``blocks`` are ids and sizes in bytes, in the order of the content.
    """

    content: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    blocks: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Blob:
    """A blob that is there: its name, size in bytes, unix times of its last change and creation."""

    name: str
    size: int
    modified: int
    created: int
    etag: str
    about: About


@dataclass(frozen=True)
class Container:
    """A container that is there; ``modified`` in unix seconds, blobs do not move it."""

    name: str
    modified: int
    etag: str
    metadata: dict[str, str]


class Storage:
    """``folder`` holds a folder for each container; uncommitted blocks are beside them."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        for container in DATASTORES.values():
            (folder / container).mkdir(parents=True, exist_ok=True)

    def path(self, datastore: str, name: str) -> Path:
        """Where a datastore's blob or folder is on this machine.

        Raises ArmError 404, or 501 for a datastore that is a file share.
        """
        if datastore.lower() in FILE_SHARES:
            raise NotEmulated(f"files of the datastore '{datastore}', which is a file share.")
        container = DATASTORES.get(datastore.lower())
        if container is None:
            text = f"Datastore '{datastore}' was not found."
            raise ArmError(404, "UserError", text)
        return self.file(container, name)

    def file(self, container: str, name: str) -> Path:
        """The file of a blob. Raises ArmError 400: a name that leaves its container."""
        root = (self.folder / container).resolve()
        path = Path(os.path.normpath(root / name.lstrip("/")))
        if path != root and root not in path.parents:
            raise ArmError(400, "InvalidUri", f"The blob name '{name}' leaves its container.")
        return path

    # -- containers

    def containers(self) -> list[str]:
        hidden = ".blocks"
        return sorted(entry.name for entry in self.folder.iterdir() if entry.name != hidden)

    def has(self, container: str) -> bool:
        return CONTAINER.fullmatch(container) is not None and (self.folder / container).is_dir()

    def container(self, name: str) -> Container:
        """The container, which is there."""
        known = self.store.get(CONTAINERS, name)
        if known is None:  # one of the workspace's own, as old as its folder
            known = self.describe_container(name, {})
        return Container(
            name, known["modified"] // SECOND, _etag(known["modified"], 0), known["metadata"]
        )

    def describe_container(self, name: str, metadata: dict[str, str]) -> dict[str, Any]:
        """Replace the container's metadata, which changes the container."""
        known = self.store.get(CONTAINERS, name) or {"modified": 0}
        about = {"metadata": metadata, "modified": _later(known["modified"])}
        self.store.put(CONTAINERS, name, about)
        return about

    def create(self, container: str, metadata: dict[str, str]) -> bool:
        """Make a container; False if it is there. Raises ArmError 400: not a name for one."""
        if not 3 <= len(container) <= 63:
            text = "The specified resource name length is not within the permissible limits."
            raise ArmError(400, "OutOfRangeInput", text)
        if CONTAINER.fullmatch(container) is None:
            text = f"The specified resource name '{container}' contains invalid characters."
            raise ArmError(400, "InvalidResourceName", text)
        if self.has(container):
            return False
        self.file(container, "").mkdir(parents=True)
        self.describe_container(container, metadata)
        return True

    def remove(self, container: str) -> None:
        """Delete a container with all its blobs."""
        for name in self.names(container, ""):
            self.store.delete(META, f"{container}/{name}")
        self.store.delete(CONTAINERS, container)
        shutil.rmtree(self.folder / container)

    # -- blobs

    def get(self, container: str, name: str) -> Blob | None:
        path = self.file(container, name)
        if not path.is_file():
            return None
        status = path.stat()
        known = self.store.get(META, f"{container}/{name}") or {}
        about = About(
            known.get("content") or {},
            known.get("metadata") or {},
            tuple((id_, size) for id_, size in known.get("blocks") or []),
        )
        if known.get("stamp") != [status.st_mtime_ns, status.st_size]:
            about = _of_another_file(about)
        created = known.get("created") or status.st_mtime_ns
        modified = status.st_mtime_ns
        etag = _etag(modified, status.st_size)
        return Blob(name, status.st_size, modified // SECOND, int(created) // SECOND, etag, about)

    def put(self, container: str, name: str, part: Path, about: About) -> Blob:
        """Make the file ``part`` the blob, all at once; its uncommitted blocks are gone."""
        path = self.file(container, name)
        now = self._tick(path)
        os.utime(part, ns=(now, now))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            part.unlink()
            text = f"a blob '{name}' beside blobs for which it is a folder, or the reverse."
            raise NotEmulated(text) from error
        return self._describe(container, name, about)

    def change(self, container: str, name: str, about: About) -> Blob:
        """Replace what is said of a blob that is there: a change as any other, but of no byte."""
        path = self.file(container, name)
        now = self._tick(path)
        os.utime(path, ns=(now, now))
        return self._describe(container, name, about)

    def _describe(self, container: str, name: str, about: About) -> Blob:
        key, status = f"{container}/{name}", self.file(container, name).stat()
        known = self.store.get(META, key) or {}
        body = {
            "content": about.content,
            "metadata": about.metadata,
            "blocks": list(about.blocks),
            "created": known.get("created") or status.st_mtime_ns,
            "stamp": [status.st_mtime_ns, status.st_size],
        }
        self.store.put(META, key, body)
        blob = self.get(container, name)
        assert blob is not None
        return blob

    @staticmethod
    def _tick(path: Path) -> int:
        """A time for a change, after the last one even where the clock has not moved."""
        return _later(path.stat().st_mtime_ns if path.is_file() else 0)

    def delete(self, container: str, name: str) -> None:
        self.file(container, name).unlink(missing_ok=True)
        self.store.delete(META, f"{container}/{name}")

    def names(self, container: str, prefix: str) -> list[str]:
        """Names of the container's blobs that begin so, in order."""
        root = (self.folder / container).resolve()
        start = root / os.path.dirname(prefix)
        names = (
            os.path.relpath(os.path.join(folder, file), root)
            for folder, _, files in os.walk(start)
            for file in files
        )
        return sorted(name for name in names if name.startswith(prefix))

    def part(self) -> Path:
        """A new temporary file's path on the blobs' own file system."""
        folder = self.folder / ".blocks"
        folder.mkdir(exist_ok=True)
        return folder / f"{os.urandom(12).hex()}.part"


def _of_another_file(about: About) -> About:
    """What still holds after a process has rewritten the file: not the hash, not the blocks."""
    content = {name: value for name, value in about.content.items() if name != "Content-MD5"}
    return replace(about, content=content, blocks=())


def _etag(changed: int, size: int) -> str:
    digest = hashlib.md5(f"{changed}{size}".encode()).hexdigest()[:15].upper()
    return f'"0x{digest}"'


def _later(before: int) -> int:
    return max(time.time_ns(), before + 1)
