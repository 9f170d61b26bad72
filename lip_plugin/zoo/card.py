"""``card.json``: what a model is, who made it, and what was measured. Parsed strictly; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.files import CARD_FILE
from lip_plugin.schema.figures import Figures
from lip_plugin.schema.kinds import MOST_EPS, Eps, Line, PlainName, Several, Sha256, Size
from lip_plugin.schema.provenance import Provenance as Provenance
from lip_plugin.schema.refusal import refusal
from lip_plugin.untrusted import parse_document, read_regular

LARGEST_CARD = 4 * 2**20
"""Bytes of ``card.json``."""


class OperatorRecord(BaseModel):
    """One layer: its kind, settings, and the weight file's name for each of its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: PlainName
    settings: dict[str, Any]
    tensors: dict[str, str]


class ModelCard(Provenance):
    """The card of a model directory. Figures under ``reported`` are somebody's claim, under ``measured`` ours.

    Neither is ever used for a certificate: that is recomputed from the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["lip-card/1"] = Field(alias="schema")
    name: PlainName
    dataset: PlainName | None = None
    class_names: Several[Line] = Field(default=(), max_length=100_000)
    """Of somebody's own images, in the order of the labels; empty where the data set says."""
    threat_model: Literal["L2"] = "L2"
    input_shape: tuple[Size, Size, Size]
    num_classes: int = Field(strict=True, ge=2)
    dtype: Literal["float32", "float64"]
    network: Annotated[list[OperatorRecord], FailFast(), Field(max_length=4096)]
    sha256: Sha256
    digest: Sha256
    params: Size
    foreign_operators: Several[PlainName] = Field(default=(), max_length=64)
    architecture: str | None = None
    eps_train: Eps | None = None
    eps_grid: Several[Eps] = Field(default=(), max_length=MOST_EPS)
    reported: Figures = Field(default_factory=Figures)
    measured: Figures = Field(default_factory=Figures)

    def __repr__(self) -> str:
        proved = self.measured.verified_robust_accuracy or {}
        shares = "".join(f", {share} % at {eps}" for eps, share in proved.items())
        proofs = shares and ", proved" + shares[1:]
        return f"ModelCard({self.name}, {self.dataset or 'no data set'}, {self.params:,} parameters{proofs})"

    def __str__(self) -> str:
        return repr(self)


def read_card(directory: Path) -> ModelCard:
    """Raises CheckpointError, in one line, where there is no valid card."""
    path = directory / CARD_FILE
    try:
        content = read_regular(path, limit=LARGEST_CARD)
    except OSError as error:
        raise CheckpointError(
            f"{directory} is not a model directory: {error.strerror or error} ({CARD_FILE})"
        ) from error
    return parse_card(content, str(path))


def parse_card(content: bytes, source: str) -> ModelCard:
    """``source`` is where it is from. Raises CheckpointError, in one line, where it is no valid card."""
    try:
        return ModelCard.model_validate(parse_document(content, source))
    except ValidationError as error:
        raise refusal(source, error, whole="the card") from error
