"""What a bundle is made from: every derived file is a pure function of this value."""

from __future__ import annotations

from dataclasses import dataclass

from lip_plugin.evaluate import Report
from lip_plugin.network import CertifiedClassifier
from lip_plugin.zoo import ModelCard


@dataclass(frozen=True)
class Submission:
    """A model with its card, and what was found on images whose digest is ``images_sha256`` (`images_digest`).

    ``board`` is the name of the board it was made for. Distances in ``report`` are those of the adversarial points
    as the bundle stores them; its pictures (``report.adversarial``) are not part of it.
    """

    board: str
    card: ModelCard
    model: CertifiedClassifier
    report: Report
    images_sha256: str
