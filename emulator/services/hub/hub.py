"""The Hub's state: repositories, the line, and the secret that signs links to large files."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from emulator.services.hub.conversations import (
    DATASET,
    REASONING,
    make_dataset,
    make_reasoning_dataset,
)
from emulator.services.hub.link import Link
from emulator.services.hub.repositories import Commit, Repository, StoredFile


class Hub:
    """Repositories by name. Those that the presets want are made when they are first asked for."""

    def __init__(self, cache: Path, link: Link | None = None) -> None:
        self.link = link or Link()
        self.repositories: dict[str, Repository] = {}
        self._key = secrets.token_bytes(32)
        self._making = asyncio.Lock()
        self._recipes: dict[str, Callable[[], Path]] = {
            DATASET: lambda: make_dataset(cache / "hub" / "ultrachat_200k"),
            REASONING: lambda: make_reasoning_dataset(cache / "hub" / "multilingual_thinking"),
        }

    def add(self, name: str, folder: Path, token: str | None = None) -> Commit:
        """Serve a folder as a dataset; adding a name again makes another commit of it."""
        repository = self.repositories.setdefault(name, Repository(name))
        repository.token = token
        return repository.push(folder)

    async def find(self, name: str) -> Repository | None:
        """Return the repository, made first if it is one that we know how to make."""
        async with self._making:
            if name not in self.repositories and name in self._recipes:
                folder = await asyncio.to_thread(self._recipes[name])
                await asyncio.to_thread(self.add, name, folder)
        return self.repositories.get(name)

    def sign(self, repository: Repository, commit: Commit, file: StoredFile) -> str:
        """Return the signature of a link to a large file: whoever holds it needs no token."""
        text = f"{repository.id}\n{commit.id}\n{file.path}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
