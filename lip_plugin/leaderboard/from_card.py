"""Rows from a model's card: what was measured when it was made, and what its authors have published."""

from __future__ import annotations

from lip_plugin.leaderboard.entry import Certificate, Entry, Origin, Proved
from lip_plugin.leaderboard.methods import certificate_of_bound
from lip_plugin.leaderboard.splits import images_in_test_split, table_of_shape
from lip_plugin.schema.figures import Figures, share_of_percent, shares_by_eps, survived_shares
from lip_plugin.schema.kinds import is_web_address
from lip_plugin.zoo import ModelCard


def entries_from_card(card: ModelCard) -> list[Entry]:
    """At most one row of measured and one of reported figures."""
    return [entry for entry in (_measured(card), reported_entry(card)) if entry is not None]


def _measured(card: ModelCard) -> Entry | None:
    figures = card.measured
    certificate = certificate_of_bound(figures.bound or "", figures.arithmetic or "")
    told = images_in_test_split(card.dataset) is not None and figures.dataset in (None, card.dataset)
    return _entry(card, figures, certificate, Origin.CARD, card.dataset if told else None, source="card.json")


def reported_entry(card: ModelCard, origin: Origin = Origin.PUBLISHED) -> Entry | None:
    """The row of the figures that the model's authors have published, where the card has any."""
    figures = card.reported
    certificate = Certificate(figures.certificate or "not stated")
    return _entry(card, figures, certificate, origin, card.dataset, source=figures.source or "card.json")


def _entry(
    card: ModelCard, figures: Figures, certificate: Certificate, origin: Origin, dataset: str | None, *, source: str
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
        method=figures.bound or "",
        origin=origin,
        source=source,
        architecture=card.architecture or "",
        params=card.params,
        images=figures.images,
        whole=figures.images is not None and figures.images == images_in_test_split(table),
        clean=None if figures.clean_accuracy is None else share_of_percent(figures.clean_accuracy),
        proved={eps: Proved(share) for eps, share in proved.items()},
        survived=survived_shares(figures.empirical_robust_accuracy),
        arithmetic=figures.arithmetic or "",
        additional_data=card.additional_data,
        link=_paper(card) if origin is Origin.PUBLISHED else "",
    )


def _paper(card: ModelCard) -> str:
    """The card's link where a page may link to it."""
    return card.link if card.link is not None and is_web_address(card.link) else ""
