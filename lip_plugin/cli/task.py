"""An evaluation from the command line: its model, its images, what is asked of them, and the names on its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lip_plugin.cli.options import Asked
from lip_plugin.cli.selection import select_images, select_model
from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import Report, Request, evaluate_images, evaluate_part
from lip_plugin.evaluate.blocks import Part
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks
from lip_plugin.zoo import ModelCard


@dataclass(frozen=True)
class Task:
    """What a command is about. ``asked`` is what was typed, ``request`` what that means for this model."""

    asked: Asked
    model: CertifiedClassifier
    card: ModelCard
    images: LabelledImages
    request: Request

    def evaluated(self, ranks: Ranks, journal: Path | None = None, parts: tuple[Path, ...] = ()) -> Report:
        """Raises as `evaluate_images`."""
        shown, what = not self.asked.quiet, (self.model, self.images, self.request)
        return evaluate_images(*what, ranks=ranks, journal=journal, parts=parts, progress=shown)

    def work_on(self, part: Part, ranks: Ranks, journal: Path) -> None:
        """Raises as `evaluate_part`."""
        shown, what = not self.asked.quiet, (self.model, self.images, self.request)
        evaluate_part(*what, part, journal=journal, ranks=ranks, progress=shown)

    def described(self, report: Any) -> Report:
        """The report with the card's names and what its command follows from."""
        card = self.card
        summary = summarise_model(self.model, name=card.name, architecture=card.architecture or "", sha256=card.sha256)
        described: Report = report.described(model=summary, options=self.asked.on_report())
        return described


def select_task(asked: Asked, ranks: Ranks, requested: Callable[[ModelCard], Request]) -> Task:
    """``requested`` says what is asked of the model with this card. Raises as loading does, and as it does."""
    device = asked.device
    if ranks.world > 1 and device is not None and device.startswith("cuda"):
        device = "cuda"  # each process its own
    model, card = select_model(asked.name, asked.dataset, device)
    images = select_images(card, asked)
    return Task(asked, model, card, images, requested(card))
