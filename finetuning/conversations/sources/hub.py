"""A dataset of the Hugging Face Hub, pinned to a commit and read by ranges.

``huggingface_hub`` does the HTTP (retries, redirects, the token from its usual place), ``pyarrow``
the parquet. Which files make a split is read from the dataset's card, as ``datasets`` does; where
the card does not say, ``datasets`` itself is asked, which costs its import.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any

from finetuning.conversations.sources.split import File, LineRows, ParquetRows, SplitRows
from finetuning.errors import DataError, DataUnavailable
from finetuning.form.data import DataChoice

if TYPE_CHECKING:
    from huggingface_hub import HfApi, HfFileSystem


PUBLIC_HUB = "https://huggingface.co"


def open_hub(choice: DataChoice) -> HubDataset:
    """Return the dataset, its revision resolved to a commit.

    Raises:
        DataError: no such dataset or revision, or the token may not read it.
        DataUnavailable: the Hub does not answer.
    """
    from huggingface_hub import HfApi

    endpoint = hub_address()
    with hub_errors(choice.dataset, choice.revision):
        found = HfApi(endpoint=endpoint).dataset_info(choice.dataset, revision=choice.revision)
    return HubDataset(choice.dataset, choice.config, str(found.sha), endpoint)


COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_commit(choice: DataChoice) -> str:
    """Return the commit that the choice means now; one that is named itself costs no request.

    Raises:
        DataError: no such dataset or revision, or the token may not read it.
        DataUnavailable: the Hub does not answer.
    """
    return choice.revision if COMMIT.fullmatch(choice.revision) else open_hub(choice).commit


def hub_address() -> str:
    """Return where the Hub is: ``HF_ENDPOINT`` as it is now, not as the process began with it."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")


@contextmanager
def hub_errors(dataset: str, revision: str) -> Iterator[None]:
    """Turn the Hub's errors into ours: what, which, and what now."""
    import httpx2
    from huggingface_hub import errors

    where = f"Dataset '{dataset}' at revision '{revision}'"
    try:
        yield
    except errors.GatedRepoError as error:
        raise DataError(
            f"{where} is gated. Accept its terms on the Hub, then set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"Dataset '{dataset}' is not on the Hub, or is private. "
            "Check run.data.dataset; for a private one set HF_TOKEN or run 'hf auth login'."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(
            f"Dataset '{dataset}' has no revision '{revision}'. Check run.data.revision."
        ) from error
    except errors.HfHubHTTPError as error:
        raise _from_answer(where, error) from None  # its text may hold a signed address
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        raise DataUnavailable(
            f"{where}: the Hub does not answer ({type(error).__name__}: {error}). "
            "Nothing was kept; try again."
        ) from error


def _from_answer(where: str, error: Any) -> DataError:
    status = error.response.status_code
    if status in (401, 403):
        return DataError(f"{where}: the Hub refused the token (HTTP {status}). Check HF_TOKEN.")
    if status == 416:
        return DataError(f"{where}: a file is shorter than the Hub's listing says; it changed.")
    if status == 404:
        return DataError(f"{where}: a file is gone from the Hub: {error.response.url.path}")
    kind = DataUnavailable if status >= 500 or status == 429 else DataError
    return kind(f"{where}: the Hub gave HTTP {status}. Nothing was kept; try again.")


class HubDataset:
    """A dataset at one commit."""

    def __init__(self, name: str, config: str | None, commit: str, endpoint: str) -> None:
        self.name, self.config, self.commit, self.endpoint = name, config, commit, endpoint
        self._opened: list[File] = []

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint)

    @cached_property
    def _files(self) -> HfFileSystem:
        from huggingface_hub import HfFileSystem

        return HfFileSystem(endpoint=self.endpoint, skip_instance_cache=True)

    @cached_property
    def _root(self) -> str:
        return f"datasets/{self.name}@{self.commit}"

    @cached_property
    def listing(self) -> dict[str, dict[str, Any]]:
        """Return the commit's files: path to size and hash."""
        with hub_errors(self.name, self.commit):
            found: Any = self._files.find(self._root, detail=True)
        return {path.removeprefix(f"{self._root}/"): about for path, about in found.items()}

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Return the files of each split."""
        with hub_errors(self.name, self.commit):
            return self._splits_of_card() or self._splits_by_datasets()

    def _splits_of_card(self) -> dict[str, list[str]]:
        """Return the splits that the card's ``configs`` name, if it names them plainly."""
        from huggingface_hub import DatasetCard

        if "README.md" not in self.listing:
            return {}
        text = self._files.read_text(f"{self._root}/README.md", encoding="utf-8")
        card = DatasetCard(text, ignore_metadata_errors=True).data
        configs: list[dict[str, Any]] = card.get("configs") or []
        wanted = self.config or "default"
        found = [one for one in configs if one.get("config_name", "default") == wanted]
        if not found or not isinstance(found[0].get("data_files"), list):
            return {}
        splits = {}
        for entry in found[0]["data_files"]:
            patterns = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
            matched = [path for one in patterns for path in self._files.glob(f"{self._root}/{one}")]
            splits[entry["split"]] = [path.removeprefix(f"{self._root}/") for path in matched]
        return splits

    def _splits_by_datasets(self) -> dict[str, list[str]]:
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetNotFoundError

        try:
            builder = load_dataset_builder(self.name, self.config, revision=self.commit)
        except (DatasetNotFoundError, FileNotFoundError, ValueError) as error:
            raise DataError(
                f"Dataset '{self.name}' cannot be laid out in splits: {error} "
                "Check run.data.dataset and run.data.config."
            ) from error
        files = builder.config.data_files or {}
        return {
            str(split): [path.partition(f"@{self.commit}/")[2] for path in paths]
            for split, paths in files.items()
        }

    def split(self, name: str) -> SplitRows:
        """Return a split's rows.

        Raises:
            DataError: there is no such split (says which there are), or its format is another.
        """
        if not self.splits.get(name):
            raise DataError(
                f"Split '{name}' is not in dataset '{self.name}', which has: "
                f"{', '.join(self.splits) or 'none'}. Check run.data.splits and split_names."
            )
        files = [self._file(path) for path in self.splits[name]]
        if all(file.name.endswith(".parquet") for file in files):
            return ParquetRows(name, files)
        if all(file.name.endswith((".jsonl", ".ndjson")) for file in files):
            return LineRows(name, files)
        raise DataError(
            f"Split '{name}' of dataset '{self.name}' is neither parquet nor JSON Lines "
            f"({files[0].name}). Try run.data.revision='refs/convert/parquet', the Hub's own copy."
        )

    def _file(self, path: str) -> File:
        if path not in self.listing:
            raise DataError(f"File '{path}' of dataset '{self.name}' is not in its listing.")
        size = int(self.listing[path]["size"])
        file = File(path, size, partial(self._open, path, size))
        self._opened.append(file)
        return file

    @contextmanager
    def _open(self, path: str, size: int) -> Iterator[IO[bytes]]:
        with hub_errors(self.name, self.commit):
            if not self._ranges:
                with open(self._download(path), "rb") as content:
                    yield content
                return
            where = f"{self._root}/{path}"
            with self._files.open(where, "rb", cache_type="none", size=size) as content:
                yield content

    @cached_property
    def _ranges(self) -> bool:
        """Whether the server can send a part of a file."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        path = self._opened[0].name
        url = hf_hub_url(
            self.name, path, repo_type="dataset", revision=self.commit, endpoint=self.endpoint
        )
        headers = {**build_hf_headers(), "Range": "bytes=0-3"}
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer:
            return bool(answer.status_code != 200)

    def _download(self, path: str) -> str:
        """Fetch a whole file into the Hub's own cache; an interrupted download resumes."""
        return str(
            self._api.hf_hub_download(self.name, path, repo_type="dataset", revision=self.commit)
        )

    def pin(self) -> dict[str, str]:
        """Return the commit as the revision."""
        return {"revision": self.commit}

    def verify(self) -> None:
        """Compare each file that was opened with the listing it was opened by.

        Raises:
            DataError: a file's size or hash is another now.
        """
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as pool, hub_errors(self.name, self.commit):
            list(pool.map(self._verify, self._opened))

    def _verify(self, file: File) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(
            self.name, file.name, repo_type="dataset", revision=self.commit, endpoint=self.endpoint
        )
        now, then = get_hf_file_metadata(url, endpoint=self.endpoint), self.listing[file.name]
        expected = then["lfs"].sha256 if then.get("lfs") else then["blob_id"]
        if now.size != then["size"] or now.etag != expected:
            raise DataError(
                f"{file.name} of dataset '{self.name}' changed while it was read "
                f"({then['size']} bytes then, {now.size} now). Nothing was kept; run it again."
            )
