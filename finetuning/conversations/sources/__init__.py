"""Where conversations come from: the Hub, this machine, Azure storage; one door to all."""

from __future__ import annotations

from typing import Any

from finetuning.azure.settings import Settings
from finetuning.conversations.sources.split import Source, SplitRows
from finetuning.form.data import DataChoice

__all__ = ["Source", "SplitRows", "content_version", "open_source"]


def open_source(choice: DataChoice, settings: Settings | None = None) -> Source:
    """Return the source with its revision pinned; nothing but its listing is read yet.

    ``settings`` are needed for ``azureml://`` and ``az://`` paths only.

    Raises:
        DataError: there is no such dataset, revision, file or split; says which there are.
        DataUnavailable: the source does not answer; may be worth repeating.
    """
    if choice.files:
        from finetuning.conversations.sources.files import open_files

        return open_files(choice, settings)
    from finetuning.conversations.sources.hub import open_hub

    return open_hub(choice)


def content_version(choice: DataChoice, settings: Settings | None = None) -> dict[str, Any]:
    """Return what the source holds now, without reading it: plain values, another when it changed.

    The Hub's address is in it, so that what a stand-in served is never taken for the real thing.

    Raises:
        DataError, ServiceError, CredentialError: the source does not say.
    """
    if choice.files:
        from finetuning.conversations.sources.files import files_version

        return {"files": files_version(choice, settings)}
    from finetuning.conversations.sources.hub import hub_address, hub_commit

    return {"hub": hub_address(), "commit": hub_commit(choice)}
