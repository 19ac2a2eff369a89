"""Which conversations a run trains on, and the files that they were prepared into."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")


class DataChoice(BaseModel):
    """A dataset of the Hub and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "HuggingFaceH4/ultrachat_200k", min_length=1, description="Dataset on the Hub."
    )
    revision: str | None = Field(None, description="Branch, tag or commit. Empty: main.")
    percentage: float = Field(5, gt=0, le=100, description="Share of every split, from its head.")
    splits: tuple[str, ...] = Field(SPLITS, min_length=1, description="Splits to prepare.")
    seed: int = Field(42, ge=0, description="Decides which rows, where they are sampled.")
    refresh: bool = Field(False, description="Prepare anew, whatever is cached.")


class PreparedFile(BaseModel):
    """One split as JSON Lines: its path here, rows, bytes, and sha256."""

    model_config = ConfigDict(frozen=True)

    path: str
    rows: int
    bytes: int
    sha256: str


class PreparedData(BaseModel):
    """The prepared splits, named by their content."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    commit: str
    version: str
    files: dict[str, PreparedFile]

    @property
    def rows(self) -> dict[str, int]:
        """Return the rows of each split."""
        return {name: file.rows for name, file in self.files.items()}

    def path(self, split: str) -> Path:
        """Return a split's file."""
        return Path(self.files[split].path)
