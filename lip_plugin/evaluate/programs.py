"""The two forwards of a network that are attacked and that judge a point: the one that users call, and float64."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate
from lip_plugin.network import CertifiedClassifier, float64_program
from lip_plugin.schema.kinds import ProgramName as ProgramName

PROGRAMS: tuple[ProgramName, ...] = ("forward", "float64")


def attacked_programs(certificate: Certificate) -> tuple[ProgramName, ...]:
    """Where the forward says little about the function that is certified, attacks that follow it alone are blind."""
    return PROGRAMS if bool(certificate.strays.any()) else PROGRAMS[:1]


class Judge:
    """Says of points (B, C, H, W) in the model's dtype with labels y (B,) which forward misclassifies them."""

    def __init__(self, model: CertifiedClassifier) -> None:
        self._model, self._float64 = model, float64_program(model)

    def by_float64(self, points: Tensor, y: Tensor) -> Tensor:
        """(B,) bool"""
        return self.lead(points, y)[0]

    def by_forward(self, points: Tensor, y: Tensor) -> Tensor:
        """(B,) bool. Logits that are no numbers misclassify."""
        return self.lead_of_forward(points, y)[0]

    def lead(self, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) bool: misclassified by float64, and by how much the label leads there (B,), at most 0 where it does."""
        return _lead(self._float64(points), y)

    def lead_of_forward(self, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same of the forward, in float64.

        Image by image: next to a boundary what else is in a batch decides how float32 rounds, and others must find
        the same.
        """
        with torch.no_grad():
            logits = torch.cat([points.new_empty(0, self._model.num_classes), *map(self._model, points.split(1))])
        wrong, ahead = _lead(logits.double(), y)
        return wrong | ~torch.isfinite(logits).all(dim=1), ahead

    def __call__(self, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) bool each: misclassified by float64, and by the forward alone."""
        float64, forward = self.by_float64(points, y), torch.zeros_like(y, dtype=torch.bool)
        rest = ~float64
        forward[rest] = self.by_forward(points[rest], y[rest])
        return float64, forward


def _lead(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    label = logits.gather(1, y[:, None].long())
    others = logits.scatter(1, y[:, None].long(), -torch.inf).amax(dim=1)
    return logits.argmax(dim=1) != y, label.squeeze(1) - others


def names_of(float64: Tensor, forward: Tensor) -> tuple[str, ...]:
    """Per point: "float64" misclassifies it, or the "forward" alone does, or "" where neither does."""
    pairs = zip(float64.tolist(), forward.tolist(), strict=True)
    return tuple("float64" if wide else "forward" if alone else "" for wide, alone in pairs)


def refutes(program: str, arithmetic: str) -> bool:
    """Whether a point inside a radius contradicts it, from who misclassifies the point and what the radius speaks of.

    Only a certificate of the forward says anything about the forward; every certificate covers float64.
    """
    return program == "float64" or (program == "forward" and arithmetic == "forward")
