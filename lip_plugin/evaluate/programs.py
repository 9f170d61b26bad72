"""The two forwards of a network that are attacked and that judge a point: the one that users call, and float64."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lip_plugin.network import CertifiedClassifier, float64_program

ProgramName = Literal["forward", "float64"]
"""``model(x)`` as it is, or the same operators in float64, which certificates are computed with."""

PROGRAMS: tuple[ProgramName, ...] = ("forward", "float64")


class Judge:
    """Says of points which forward misclassifies them. Rounding decides next to a boundary, so both are asked."""

    def __init__(self, model: CertifiedClassifier) -> None:
        self._model, self._float64 = model, float64_program(model)

    def by_float64(self, points: Tensor, y: Tensor) -> Tensor:
        """(B,) bool of points (B, C, H, W) in the model's dtype with labels y (B,)."""
        return self._float64(points).argmax(dim=1) != y

    def by_forward(self, points: Tensor, y: Tensor) -> Tensor:
        """(B,) bool. Logits that are no numbers misclassify."""
        with torch.no_grad():
            logits = self._model(points)
        return (logits.argmax(dim=1) != y) | ~torch.isfinite(logits).all(dim=1)

    def __call__(self, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) bool each: misclassified by the forward, and by float64.

        Where the forward alone says so it is asked again, image by image: what a batch adds to its rounding must not
        decide, so that others find the same.
        """
        forward, float64 = self.by_forward(points, y), self.by_float64(points, y)
        for index in (forward & ~float64).nonzero().flatten().tolist():
            alone = slice(index, index + 1)
            forward[alone] = self.by_forward(points[alone], y[alone])
        return forward, float64


def names_of(forward: Tensor, float64: Tensor) -> tuple[str, ...]:
    """Per point: "forward", "float64" or "both" misclassify it, "" where neither does."""
    names = {(False, False): "", (True, False): "forward", (False, True): "float64", (True, True): "both"}
    return tuple(names[pair] for pair in zip(forward.tolist(), float64.tolist(), strict=True))


def refutes(program: str, arithmetic: str) -> bool:
    """Whether a point inside a radius contradicts it, from who misclassifies the point and what the radius speaks of.

    Only a certificate of the forward says anything about the forward; every certificate covers float64.
    """
    return program in ("float64", "both") or (program == "forward" and arithmetic == "forward")
