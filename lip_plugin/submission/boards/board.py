"""A board: what it wants evaluated, and what it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lip_plugin.data import LabelledImages
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.submission import Submission
from lip_plugin.untrusted import few
from lip_plugin.zoo import ModelCard


@dataclass(frozen=True)
class Refusal:
    """A rule of a board that is broken: short texts without a full stop, for one line."""

    rule: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.rule}: found {self.found}, expected {self.expected}"


def foreign_refusals(model: CertifiedClassifier) -> tuple[Refusal, ...]:
    """The rule of every board: what `lip verify` refuses is not handed in."""
    foreign = model.foreign_operators
    expected = "operators of lip-plugin alone: nobody can check a bundle without running foreign code"
    return (Refusal("operators", few(foreign), expected),) if foreign else ()


class Board(ABC):
    """A leaderboard, or whoever else reads bundles. Boards are stateless; the registry holds one of each.

    ``title`` is its name in prose. ``radii`` are evaluated for it whatever the card's own are. ``attacks`` are those it
    prescribes, None where the submitter chooses; a board that prescribes attacks prescribes the radii too.
    ``full_protocol``: certified images must be attacked as well.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    radii: ClassVar[tuple[float, ...]] = ()
    attacks: ClassVar[tuple[str, ...] | None] = None
    full_protocol: ClassVar[bool] = False

    @abstractmethod
    def refusals_before(
        self, card: ModelCard, model: CertifiedClassifier, images: LabelledImages
    ) -> tuple[Refusal, ...]:
        """What is known to break a rule before any proof or attack, cheap to find out: a few forwards at most."""

    @abstractmethod
    def refusals_after(self, submission: Submission) -> tuple[Refusal, ...]:
        """Every broken rule, from the submission alone: whatever board it was made for. A pure function.

        What `refusals_before` finds is found here too, for bundles that were made for another board.
        """
