"""``card.json``: what a model is, who made it, and what was measured. Parsed strictly; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.files import CARD_FILE
from lip_plugin.types import LARGEST_EPS
from lip_plugin.untrusted import is_plain_name, is_plain_text, parse_document, printable, read_regular

_LARGEST_CARD = 4 * 2**20


def _plain(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("expected one printable line of at most 200 characters without path separators")
    return name


def _plain_text(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("expected text without control characters")
    return text


Name = Annotated[str, AfterValidator(_plain)]
Text = Annotated[str, AfterValidator(_plain_text)]
Eps = Annotated[float, Field(strict=True, ge=0, le=LARGEST_EPS)]
Size = Annotated[int, Field(strict=True, ge=1)]


class OperatorRecord(BaseModel):
    """One layer: its kind, settings, and the weight file's name for each of its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Name
    settings: dict[str, Any]
    tensors: dict[str, str]


class Provenance(BaseModel):
    """Where a model comes from, in words: the part of a card that a person writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    based_on: Text | None = None
    paper: Text | None = None
    authors: Text | None = None
    venue: Text | None = None
    link: Text | None = None
    bibtex: Text | None = None
    licence: Text | None = None
    additional_data: Annotated[bool, Field(strict=True)] | None = None


class ModelCard(Provenance):
    """The card of a model directory. Figures under ``reported`` are somebody's claim, under ``measured`` ours.

    Neither is ever used for a certificate: that is recomputed from the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["lip-card/1"] = Field(alias="schema")
    name: Name
    dataset: Name | None = None
    threat_model: Literal["L2"] = "L2"
    input_shape: tuple[Size, Size, Size]
    num_classes: int = Field(strict=True, ge=2)
    dtype: Literal["float32", "float64"]
    network: list[OperatorRecord] = Field(max_length=4096)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    params: Size
    foreign_operators: tuple[Name, ...] = Field(default=(), max_length=64)
    architecture: str | None = None
    eps_train: Eps | None = None
    eps_grid: tuple[Eps, ...] = Field(default=(), max_length=64)
    reported: dict[str, Any] = Field(default_factory=dict)
    measured: dict[str, Any] = Field(default_factory=dict)


def read_card(directory: Path) -> ModelCard:
    """Raises CheckpointError, in one line, where there is no valid card."""
    path = directory / CARD_FILE
    try:
        content = read_regular(path, limit=_LARGEST_CARD)
    except OSError as error:
        raise CheckpointError(
            f"{directory} is not a model directory: {error.strerror or error} ({CARD_FILE})"
        ) from error
    try:
        return ModelCard.model_validate(parse_document(content, str(path)))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the card"
        raise CheckpointError(f"{path}: {printable(where, longest=200)}: {problem['msg']}") from error
