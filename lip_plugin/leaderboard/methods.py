"""Which stated bounds are proofs."""

from __future__ import annotations

from typing import get_args

from lip_plugin.leaderboard.entry import Certificate
from lip_plugin.schema.figures import Figures
from lip_plugin.schema.kinds import Arithmetic

PROVED_BOUND = "product of verified operator norms"
"""What reports and cards of this project name as the method of their Lipschitz upper bound."""

_PROVED_BOUNDS = (PROVED_BOUND, f"{PROVED_BOUND}, scales with the linear layers beside them")

PROVED_ARITHMETIC: tuple[str, ...] = get_args(Arithmetic)
"""What a certificate of this project can speak of."""


def certificate_of_bound(method: str, arithmetic: str, *, verified: bool = False) -> Certificate:
    """Fails closed: what is not known to be a proof is none, and what was not ``verified`` is a claim."""
    if method not in _PROVED_BOUNDS or arithmetic not in PROVED_ARITHMETIC:
        return Certificate.UNSTATED
    return Certificate.SOUND if verified else Certificate.CLAIMED


def is_proof(figures: Figures) -> bool:
    """Whether a card's figures name a bound that is a proof of this project: a claim, which the weights can confirm."""
    return certificate_of_bound(figures.bound or "", figures.arithmetic or "") is not Certificate.UNSTATED
