"""Where conversations come from: the Hub, this machine, Azure storage; one door to all."""

from __future__ import annotations

from finetuning.azure.settings import Settings
from finetuning.conversations.sources.split import Source, SplitRows
from finetuning.form.data import DataChoice

__all__ = ["Source", "SplitRows", "open_source"]


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
