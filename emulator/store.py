"""All state of one emulator, in one SQLite file that survives a kill.

No HTTP, no clock, no process.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, key)
);
CREATE INDEX IF NOT EXISTS newest ON resource (kind, seq, key)
"""
#: The newest document of each family of two kinds; what is before ``/`` in a key is its family.
FAMILIES = """
SELECT seq, family FROM (
    SELECT seq, substr(key, 1, instr(key, '/')) AS family FROM resource
    WHERE kind = :one AND seq < :before
    UNION ALL
    SELECT seq, substr(key, 1, instr(key, '/')) AS family FROM resource
    WHERE kind = :other AND seq < :before
) AS newest
WHERE NOT EXISTS (
    SELECT 1 FROM resource
    WHERE kind IN (:one, :other) AND key >= family AND key < family || :last
    AND resource.seq > newest.seq
)
ORDER BY seq DESC LIMIT :most
"""
CHUNK = 128  # documents that a scan reads at once
END = 1 << 62  # no document has such a place

LAST = chr(0x10FFFF)  # sorts after whatever a key can go on with


class Store:
    """Documents by kind and key. Every write is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")  # safe against a kill, not a power cut
        self._database.executescript(SCHEMA)

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        with self._lock:
            row = self._database.execute(
                "SELECT body FROM resource WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return dict(json.loads(row[0])) if row else None

    def put(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Insert or replace; a replaced document keeps its place in the order."""
        with self._lock:
            self._database.execute(
                "INSERT INTO resource (kind, key, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (kind, key, json.dumps(body)),
            )

    def delete(self, kind: str, key: str) -> bool:
        with self._lock:
            done = self._database.execute(
                "DELETE FROM resource WHERE kind = ? AND key = ?", (kind, key)
            )
        return done.rowcount > 0

    def list(self, kind: str, prefix: str = "") -> list[dict[str, Any]]:
        """All documents of a kind whose key begins so, newest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT body FROM resource WHERE kind = ? AND key >= ? AND key < ? "
                "ORDER BY seq DESC",
                (kind, prefix, prefix + LAST),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def scan(self, kind: str, before: int = END) -> Iterator[tuple[int, dict[str, Any]]]:
        """All documents of a kind with their places, newest first, read as they are wanted.

        A place is a document's for good: what follows one is the same whatever is inserted.
        """
        while True:
            with self._lock:
                rows = self._database.execute(
                    "SELECT seq, body FROM resource WHERE kind = ? AND seq < ? "
                    "ORDER BY seq DESC LIMIT ?",
                    (kind, before, CHUNK),
                ).fetchall()
            for place, body in rows:
                yield place, json.loads(body)
            if len(rows) < CHUNK:
                return
            before = rows[-1][0]

    def families(self, kind: str, other: str, before: int = END) -> Iterator[tuple[int, str]]:
        """What stands before ``/`` in the keys of two kinds, newest first, with their places."""
        given = {"one": kind, "other": other, "last": LAST, "most": CHUNK}
        while True:
            with self._lock:
                rows = self._database.execute(FAMILIES, {**given, "before": before}).fetchall()
            yield from rows
            if len(rows) < CHUNK:
                return
            before = rows[-1][0]

    def close(self) -> None:
        """Close once no other thread is inside: SQLite ends the whole process otherwise."""
        with self._lock:
            self._database.close()
