"""``card.json``: what a model is, who made it, and what was measured. Parsed strictly; needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.files import CARD_FILE

_LARGEST_CARD = 4 * 2**20


class OperatorRecord(BaseModel):
    """One layer: its kind, settings, and the weight file's name for each of its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    settings: dict[str, Any]
    tensors: dict[str, str]


class Provenance(BaseModel):
    """Where a model comes from, in words: the part of a card that a person writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    based_on: str | None = None
    paper: str | None = None
    authors: str | None = None
    venue: str | None = None
    link: str | None = None
    bibtex: str | None = None
    licence: str | None = None
    additional_data: bool | None = None


class ModelCard(Provenance):
    """The card of a model directory. Figures under ``reported`` are somebody's claim, under ``measured`` ours.

    Neither is ever used for a certificate: that is recomputed from the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["lip-card/1"] = Field(alias="schema")
    name: str = Field(min_length=1, max_length=200)
    dataset: str | None = None
    threat_model: Literal["L2"] = "L2"
    input_shape: tuple[int, int, int]
    num_classes: int = Field(ge=2)
    dtype: Literal["float32", "float64"]
    network: list[OperatorRecord]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    params: int = Field(ge=1)
    architecture: str | None = None
    eps_train: float | None = None
    eps_grid: tuple[float, ...] = ()
    reported: dict[str, Any] = Field(default_factory=dict)
    measured: dict[str, Any] = Field(default_factory=dict)


def read_card(directory: Path) -> ModelCard:
    """Raises CheckpointError, in one line, where there is no valid card."""
    path = directory / CARD_FILE
    try:
        if path.stat().st_size > _LARGEST_CARD:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; a card has at most {_LARGEST_CARD}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{directory} is not a model directory: {error.strerror or error} ({CARD_FILE})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    try:
        card = ModelCard.model_validate(content)
        card.model_dump(mode="json")  # refuses what is nested too deeply to be written again
        return card
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the card"
        raise CheckpointError(f"{path}: {where}: {problem['msg']}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from error
