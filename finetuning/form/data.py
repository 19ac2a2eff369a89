"""What data a run wants, and what it got: plain values that cross the borders between tasks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from finetuning.form.choice import Choice, left_open

#: The tutorial's dataset and its four splits.
ULTRACHAT = "HuggingFaceH4/ultrachat_200k"


SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")


#: What a split that is cut becomes.
PARTS = ("train", "validation", "test")


class Columns(Choice):
    """Names of the dataset's columns, if they differ from UltraChat's."""

    prompt: str = Field("prompt", description="Column with the first question. May be missing.")
    prompt_id: str = Field("prompt_id", description="Column with the row's id. May be missing.")
    messages: str = Field("messages", description="Column with the messages.")
    role: str = Field("role", description="Field of a message that holds its role.")
    content: str = Field("content", description="Field of a message that holds its text.")
    thinking: str = Field(
        "thinking", description="Field of a message that holds its reasoning. May be missing."
    )
    roles: dict[str, str] = Field(
        default_factory=dict, description='The dataset\'s own names for roles: {"human": "user"}.'
    )
    question: str | None = Field(
        None, description="Column with a question, if there is no column with messages."
    )
    answer: str | None = Field(None, description="Column with the answer to 'question'.")

    @model_validator(mode="after")
    def _question_and_answer_go_together(self) -> Columns:
        if (self.question is None) != (self.answer is None):
            raise ValueError("'question' and 'answer' go together: set both or neither")
        return self

    @property
    def ultrachats(self) -> bool:
        """Whether the columns are UltraChat's, so that rows need no mapping."""
        return self == Columns()

    @property
    def required(self) -> tuple[str, ...]:
        """Return the columns that a dataset must have."""
        if self.question and self.answer:
            return (self.question, self.answer)
        return (self.messages,)


class Filters(Choice):
    """Rows to leave out. The run counts and reports them."""

    language_column: str | None = Field(None, description="Column with the language code.")
    languages: tuple[str, ...] = Field((), description="Language codes to keep, for example en.")
    max_turns: int | None = Field(
        None, ge=1, description="Maximum number of messages in a conversation."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Maximum length of a conversation, in tokens of four characters."
    )

    @model_validator(mode="after")
    def _languages_need_their_column(self) -> Filters:
        if bool(self.language_column) != bool(self.languages):
            raise ValueError("'language_column' and 'languages' go together: set both or neither")
        return self

    @property
    def any(self) -> bool:
        """Whether anything is filtered at all."""
        return self != Filters()


class Cut(Choice):
    """One split, cut by the data's seed into three; each of its rows is in exactly one of them."""

    split: str = Field("", description="The dataset's split that is cut. Empty: none is.")
    train: float = Field(0.8, gt=0, lt=1, description="Share of the rows to train on.")
    validation: float = Field(
        0.1, ge=0, lt=1, description="Share to evaluate on while training. 0: without it."
    )
    test: float = Field(0.1, gt=0, lt=1, description="Share to ask the endpoint about.")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Cut:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(
                f"the shares train {self.train:g}, validation {self.validation:g} and test "
                f"{self.test:g} add up to {total:g}; they must add up to 1"
            )
        return self

    @property
    def on(self) -> bool:
        """Whether a split is cut at all."""
        return bool(self.split)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts' names."""
        return PARTS if self.validation else ("train", "test")

    def sizes(self, rows: int) -> dict[str, int]:
        """Return the rows of each part; the training takes what rounding leaves over."""
        validation, test = round(rows * self.validation), round(rows * self.test)
        counts = {"train": rows - validation - test, "validation": validation, "test": test}
        return {part: counts[part] for part in self.parts}


class DataChoice(Choice):
    """The conversations to train and test on."""

    first: ClassVar = ("dataset", "percentage", "max_rows")

    dataset: str = Field(
        ULTRACHAT,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="A dataset on the Hugging Face Hub: owner/name. Empty: the preset's.",
        json_schema_extra=left_open,
    )
    config: str | None = Field(
        None, description="The dataset's configuration, if it has more than one."
    )
    revision: str = Field(
        "main",
        min_length=1,
        description="Branch, tag or commit. The plan pins a branch to its commit.",
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Your own Parquet or JSON Lines files instead of a dataset: one file for each "
        "split. A local path, az://container@account.blob.core.windows.net/path, or "
        "azureml://datastores/name/paths/path.",
    )
    splits: tuple[str, ...] = Field(SPLITS, min_length=1, description="The splits to prepare.")
    split_names: dict[str, str] = Field(
        default_factory=dict,
        description='The dataset\'s own names for splits: {"train_sft": "train"}.',
    )
    cut: Cut = Field(
        default_factory=Cut, description="For a dataset with one split: how it is cut into three."
    )
    percentage: float = Field(
        5.0,
        gt=0,
        le=100,
        description="How much of each split to use. Empty: the preset's value.",
        json_schema_extra=left_open,
    )
    take: Literal["head", "sample"] = Field(
        "head", description="head: the first rows. sample: a random sample."
    )
    seed: int = Field(
        42, ge=0, description="Decides which rows a sample picks, and how a split is cut."
    )
    max_rows: int | None = Field(
        None, ge=1, description="Maximum number of rows in each split. Empty: no limit."
    )
    columns: Columns = Field(default_factory=Columns, description="Names of the columns.")
    filters: Filters = Field(default_factory=Filters, description="Rows to leave out.")
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="Refuse the data if a larger share of its rows is broken."
    )
    refresh: bool = Field(False, description="Prepare the data again, even if it has not changed.")

    @field_validator("splits")
    @classmethod
    def _each_split_once(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(splits)) != len(splits):
            raise ValueError(f"a split is named twice: {', '.join(splits)}")
        for name in splits:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"'{name}': a split's name is letters, digits, '-' and '_'")
        return splits

    @property
    def names(self) -> tuple[str, ...]:
        """Return what is prepared: the splits, or the parts of the one that is cut."""
        return self.cut.parts if self.cut.on else self.splits

    def own_name(self, name: str) -> str:
        """Return the dataset's own name of the split that ``name`` is made of."""
        split = self.cut.split if self.cut.on else name
        return self.split_names.get(split, split)

    @property
    def title(self) -> str:
        """Return the data's short name: the dataset's without its owner, or ``files``."""
        return "files" if self.files else self.dataset.split("/")[-1]

    def inputs(self) -> dict[str, Any]:
        """Return what the outcome depends on, as plain values."""
        return self.model_dump(mode="json", exclude={"refresh"})


class PreparedFile(BaseModel):
    """One split as JSON Lines in the tutorial's schema: where it was written, and what it holds."""

    model_config = ConfigDict(frozen=True)

    path: str
    rows: int
    bytes: int
    sha256: str
    dropped: dict[str, int] = Field(default_factory=dict)

    @property
    def here(self) -> bool:
        """Whether this machine has the file whole, by its size (its hash names its folder)."""
        path = Path(self.path)
        return path.is_file() and path.stat().st_size == self.bytes


class PreparedData(BaseModel):
    """The prepared splits. ``choice`` has the revision pinned, so it makes the same bytes again."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    commit: str
    version: str = Field(description="From the content of all files alone: same bytes, same one.")
    manifest: str = Field(description="Path of the manifest, beside the files.")
    choice: DataChoice
    files: dict[str, PreparedFile]

    @property
    def rows(self) -> dict[str, int]:
        """Return the rows of each split."""
        return {name: file.rows for name, file in self.files.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits' names."""
        return tuple(self.files)

    def file(self, split: str) -> Path:
        """Return where a split's file was written."""
        return Path(self.files[split].path)
