"""Rows from a model's card: what was measured when it was made, and what its authors have published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from lip_plugin.leaderboard.entry import Certificate, Entry, Origin, Proved
from lip_plugin.leaderboard.fields import (
    Line,
    Percent,
    PercentByEps,
    Record,
    SurvivedByEps,
    is_web_address,
    read_record,
    share_of_percent,
    shares_by_eps,
    survived_shares,
)
from lip_plugin.leaderboard.methods import certificate_of_bound
from lip_plugin.leaderboard.splits import images_in_test_split, table_of_shape
from lip_plugin.zoo import ModelCard


class CardFigures(Record):
    """Figures in percent, as cards hold them under ``measured`` and ``reported``.

    ``dataset``: whose test images they are about, as told when they were measured; None where nobody looked.
    """

    clean_accuracy: Percent | None = None
    verified_robust_accuracy: PercentByEps = Field(default_factory=dict)
    empirical_robust_accuracy: SurvivedByEps = Field(default_factory=dict)
    images: Annotated[int, Field(strict=True, ge=1)] | None = None
    dataset: Line | None = None
    bound: Line = ""
    arithmetic: Line = ""
    certificate: Certificate = Certificate.UNSTATED
    source: Line = ""

    @field_validator("certificate")
    @classmethod
    def _no_proof_by_claim(cls, stated: Certificate) -> Certificate:
        """Of what others report, a card cannot say that it was proved here or refuted here."""
        if stated in (Certificate.SOUND, Certificate.CONTRADICTED):
            raise ValueError("expected by construction, estimated, probabilistic or not stated")
        return stated


def entries_from_card(card: ModelCard) -> list[Entry]:
    """At most one row of measured and one of reported figures. Raises CheckpointError naming the card's field."""
    return [entry for entry in (_measured(card), reported_entry(card)) if entry is not None]


def _measured(card: ModelCard) -> Entry | None:
    figures = _figures(card, "measured", card.measured)
    certificate = certificate_of_bound(figures.bound, figures.arithmetic)
    told = images_in_test_split(card.dataset) is not None and figures.dataset in (None, card.dataset)
    return _entry(card, figures, certificate, Origin.CARD, card.dataset if told else None, source="card.json")


def reported_entry(card: ModelCard, origin: Origin = Origin.PUBLISHED) -> Entry | None:
    """The row of the figures that the model's authors have published, where the card has any."""
    figures = _figures(card, "reported", card.reported)
    return _entry(card, figures, figures.certificate, origin, card.dataset, source=figures.source or "card.json")


def _figures(card: ModelCard, name: str, content: Mapping[str, Any]) -> CardFigures:
    return read_record(CardFigures, dict(content), f"card of {card.name}: {name}")


def _entry(
    card: ModelCard, figures: CardFigures, certificate: Certificate, origin: Origin, dataset: str | None, *, source: str
) -> Entry | None:
    """None without figures. A row on the images of ``dataset``, if the network takes such."""
    if figures.clean_accuracy is None and not figures.verified_robust_accuracy:
        return None
    proved = shares_by_eps(figures.verified_robust_accuracy)
    table = table_of_shape(dataset, card.input_shape)
    return Entry(
        name=card.name,
        dataset=table,
        certificate=certificate,
        method=figures.bound,
        origin=origin,
        source=source,
        architecture=card.architecture or "",
        params=card.params,
        images=figures.images,
        whole=figures.images is not None and figures.images == images_in_test_split(table),
        clean=None if figures.clean_accuracy is None else share_of_percent(figures.clean_accuracy),
        proved={eps: Proved(share) for eps, share in proved.items()},
        survived=survived_shares(figures.empirical_robust_accuracy),
        arithmetic=figures.arithmetic,
        additional_data=card.additional_data,
        link=_paper(card) if origin is Origin.PUBLISHED else "",
    )


def _paper(card: ModelCard) -> str:
    """The card's link where a page may link to it."""
    return card.link if card.link is not None and is_web_address(card.link) else ""
