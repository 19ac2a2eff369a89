"""A dataset repository: the files of each commit, hashed as git and git-lfs do.

A repository's commits are folders on disk. A commit's id is the hash of its paths and contents, so
the same files are the same commit on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: Kept outside git by the Hub (its default .gitattributes), so served by a redirect.
LARGE_SUFFIXES = (".parquet", ".arrow", ".bin", ".zip", ".gz", ".zst")
#: Every commit says the same moment: a stand-in has no history worth telling.
COMMITTED_AT = "2023-10-30T00:00:00.000Z"


@dataclass(frozen=True)
class StoredFile:
    """One file of one commit: ``oid`` is git's blob hash, ``sha256`` is set where it is large."""

    path: str
    size: int
    oid: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """One state of a repository: where its files lie, and what they are."""

    id: str
    folder: Path
    files: dict[str, StoredFile]

    def below(self, prefix: str, *, recursive: bool) -> tuple[list[StoredFile], list[str]]:
        """Return the files and the folders under a folder (``""`` is the root), sorted."""
        start = f"{prefix}/" if prefix else ""
        inside = [file for path, file in sorted(self.files.items()) if path.startswith(start)]
        parents = {
            start + "/".join(parts[:depth])
            for file in inside
            for parts in [file.path[len(start) :].split("/")]
            for depth in range(1, len(parts) if recursive else min(len(parts), 2))
        }
        shown = [file for file in inside if recursive or "/" not in file.path[len(start) :]]
        return shown, sorted(parents)


@dataclass
class Repository:
    """A dataset with its branches; ``token`` is what a private one asks for."""

    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None

    def commit(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a full id, or the beginning of an id names."""
        wanted = self.branches.get(revision, revision)
        if wanted in self.commits:
            return self.commits[wanted]
        short = [id_ for id_ in self.commits if len(wanted) >= 7 and id_.startswith(wanted)]
        return self.commits[short[0]] if len(short) == 1 else None

    def push(self, folder: Path, branch: str = "main") -> Commit:
        """Add a folder's files as a commit, and let the branch point at it."""
        commit = read_commit(folder)
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit


def read_commit(folder: Path) -> Commit:
    """Return a folder as a commit; hashes are kept beside it, so a restart does not hash again."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stamp = [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
    kept = folder.with_name(f"{folder.name}.hashes.json")
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("stamp") != stamp:
        files = [asdict(_hashed(path, str(path.relative_to(folder)))) for path in paths]
        known = {"stamp": stamp, "files": files}
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(known))
        part.replace(kept)
    stored = {file["path"]: StoredFile(**file) for file in known["files"]}
    listing = "\n".join(f"{path} {file.etag}" for path, file in stored.items())
    return Commit(hashlib.sha1(listing.encode()).hexdigest(), folder, stored)


def _hashed(path: Path, name: str) -> StoredFile:
    size = path.stat().st_size
    if path.suffix not in LARGE_SUFFIXES:
        return StoredFile(name, size, _git_hash(path.read_bytes()), None)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return StoredFile(name, size, _git_hash(pointer.encode()), sha256)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
