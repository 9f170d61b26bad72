"""What a bundle is made from: every derived file is a pure function of this value."""

from __future__ import annotations

from dataclasses import dataclass

from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema import PointsTable, ReportValues
from lip_plugin.zoo import ModelCard


@dataclass(frozen=True)
class Submission:
    """A model with its card, and the figures that were found on images whose digest is ``images_sha256``.

    ``board`` is the name of the board it was made for. Distances in ``points`` are those of the adversarial points as
    the bundle stores them.
    """

    board: str
    card: ModelCard
    model: CertifiedClassifier
    report: ReportValues
    points: PointsTable
    images_sha256: str
