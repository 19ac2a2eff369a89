"""The workspace's storage account: containers and blobs as folders and files on disk."""

import base64
import hashlib
import os
import re
import shutil
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.store import Store

META = "blob"
CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
DATASTORES = {"workspaceblobstore": "azureml-blobstore", "workspaceartifactstore": "azureml"}


@dataclass(frozen=True)
class Blob:
    """A blob that is there: its name, size in bytes, unix time of its last change, its metadata."""

    name: str
    size: int
    modified: float
    etag: str
    metadata: dict[str, str]
    content_type: str


class Storage:
    """``folder`` holds a folder for each container; uncommitted blocks are beside them."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        for container in DATASTORES.values():
            (folder / container).mkdir(parents=True, exist_ok=True)

    def path(self, datastore: str, name: str) -> Path:
        """Where a datastore's blob or folder is on this machine. Raises ArmError 404."""
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

    def containers(self) -> list[str]:
        hidden = ".blocks"
        return sorted(entry.name for entry in self.folder.iterdir() if entry.name != hidden)

    def has(self, container: str) -> bool:
        return CONTAINER.fullmatch(container) is not None and (self.folder / container).is_dir()

    def create(self, container: str) -> bool:
        """Make a container; False if it is there. Raises ArmError 400: not a name for one."""
        if CONTAINER.fullmatch(container) is None:
            text = f"The specified resource name '{container}' contains invalid characters."
            raise ArmError(400, "InvalidResourceName", text)
        if self.has(container):
            return False
        self.file(container, "").mkdir(parents=True)
        return True

    def remove(self, container: str) -> None:
        """Delete a container with all its blobs."""
        for name in self.names(container, ""):
            self.store.delete(META, f"{container}/{name}")
        shutil.rmtree(self.folder / container)

    def get(self, container: str, name: str) -> Blob | None:
        path = self.file(container, name)
        if not path.is_file():
            return None
        about = path.stat()
        known = self.store.get(META, f"{container}/{name}") or {}
        etag = f'"0x{hashlib.md5(f"{about.st_mtime_ns}{about.st_size}".encode()).hexdigest()[:15]}"'
        return Blob(
            name,
            about.st_size,
            about.st_mtime,
            etag.upper().replace("0X", "0x"),
            known.get("metadata") or {},
            known.get("content_type") or "application/octet-stream",
        )

    def put(
        self, container: str, name: str, part: Path, metadata: dict[str, str], content_type: str
    ) -> None:
        """Make the file ``part`` the blob, all at once."""
        path = self.file(container, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            part.unlink()
            text = f"a blob '{name}' beside blobs for which it is a folder, or the reverse."
            raise NotEmulated(text) from error
        self.describe(container, name, metadata, content_type)

    def describe(
        self, container: str, name: str, metadata: dict[str, str], content_type: str | None = None
    ) -> None:
        key = f"{container}/{name}"
        known = self.store.get(META, key) or {}
        kind = content_type or known.get("content_type")
        self.store.put(META, key, {"metadata": metadata, "content_type": kind})

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

    # -- blocks

    def stage(self, container: str, name: str, block: str) -> Path:
        """Where an uncommitted block of a blob is kept."""
        folder = self._staging(container, name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / base64.urlsafe_b64encode(block.encode()).decode()

    def commit(self, container: str, name: str, blocks: list[str], into: Path) -> None:
        """Write the blocks one after another. Raises ArmError 400: one was never uploaded."""
        with into.open("wb") as whole:
            for block in blocks:
                part = self.stage(container, name, block)
                if not part.is_file():
                    raise ArmError(400, "InvalidBlockList", "The specified block list is invalid.")
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
        shutil.rmtree(self._staging(container, name), ignore_errors=True)

    def part(self) -> Path:
        """A new temporary file's path on the blobs' own file system."""
        folder = self.folder / ".blocks"
        folder.mkdir(exist_ok=True)
        return folder / f"{os.urandom(12).hex()}.part"

    def _staging(self, container: str, name: str) -> Path:
        key = hashlib.sha256(f"{container}/{urllib.parse.quote(name)}".encode()).hexdigest()
        return self.folder / ".blocks" / key
