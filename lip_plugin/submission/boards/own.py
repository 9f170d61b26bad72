"""Our own board: any model of our zoo's shape, on any images."""

from __future__ import annotations

from lip_plugin.data import LabelledImages
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.boards.board import Board, Refusal
from lip_plugin.submission.submission import Submission
from lip_plugin.zoo import ModelCard


class OwnBoard(Board):
    """Takes whatever can be certified."""

    name = "own"
    title = "lip leaderboard"

    def refusals_before(
        self, card: ModelCard, model: CertifiedClassifier, images: LabelledImages
    ) -> tuple[Refusal, ...]:
        return ()

    def refusals_after(self, submission: Submission) -> tuple[Refusal, ...]:
        return ()
