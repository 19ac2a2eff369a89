"""What data a run wants, and what it got: plain values that cross the borders between tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from finetuning.form.choice import Choice

#: The tutorial's dataset and its four splits.
ULTRACHAT = "HuggingFaceH4/ultrachat_200k"


SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")


class Columns(Choice):
    """Names of the dataset's columns, if they differ from UltraChat's."""

    prompt: str = Field("prompt", description="Column with the first question. May be missing.")
    prompt_id: str = Field("prompt_id", description="Column with the row's id. May be missing.")
    messages: str = Field("messages", description="Column with the messages.")
    role: str = Field("role", description="Field of a message that holds its role.")
    content: str = Field("content", description="Field of a message that holds its text.")
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


class DataChoice(Choice):
    """The conversations to train and test on."""

    first: ClassVar = ("dataset", "percentage", "max_rows")

    dataset: str = Field(
        ULTRACHAT,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="A dataset on the Hugging Face Hub: owner/name.",
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
    percentage: float = Field(5.0, gt=0, le=100, description="How much of each split to use.")
    take: Literal["head", "sample"] = Field(
        "head", description="head: the first rows. sample: a random sample."
    )
    seed: int = Field(42, ge=0, description="Decides which rows a sample picks.")
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
