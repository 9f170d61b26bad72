"""Which stated bounds are proofs."""

from __future__ import annotations

from lip_plugin.leaderboard.entry import Certificate

PROVED_BOUND = "product of verified operator norms"
"""What reports and cards of this project name as the method of their Lipschitz upper bound."""

_PROVED_BOUNDS = (PROVED_BOUND, f"{PROVED_BOUND}, scales with the linear layers beside them")

PROVED_ARITHMETIC = ("real", "float64", "float32", "forward")
"""What a certificate of this project can speak of."""


def certificate_of_bound(method: str, arithmetic: str) -> Certificate:
    """Fails closed: what is not known to be a proof is none."""
    proved = method in _PROVED_BOUNDS and arithmetic in PROVED_ARITHMETIC
    return Certificate.SOUND if proved else Certificate.UNSTATED
