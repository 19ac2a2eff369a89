"""Secrets in logs: those that an emulator gave out, and whatever looks like a token."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")
SIGNATURE = re.compile(r"[?&]sig=[A-Za-z0-9%+/=]{20,}")


class Secrets:
    """What an emulator must never see in a log; endpoint keys are gathered while they exist."""

    def __init__(self, state: Path) -> None:
        identity = json.loads((state / "identity.json").read_text())
        self.known = {
            identity[name]: name for name in ("storage_key", "token_key", "identity_header")
        }
        self._database = state / "state.db"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        while not self._stop.wait(0.5):
            address = f"file:{self._database}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
                rows = database.execute("SELECT body FROM resource WHERE kind = 'keys'").fetchall()
            for (body,) in rows:
                self.known.update(dict.fromkeys(json.loads(body).values(), "endpoint key"))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def in_text(self, text: str) -> str | None:
        """Return which kind of secret is in the text, or None."""
        for secret, kind in list(self.known.items()):
            if secret and secret in text:
                return kind
        if TOKEN.search(text):
            return "token"
        return "signature" if SIGNATURE.search(text) else None
