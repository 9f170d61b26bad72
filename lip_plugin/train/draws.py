"""One random number per image of a batch, drawn for the whole batch and handed out for a share of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Draws for ``batch`` images, of which the images in ``share`` are here.

    What an image gets does not depend on how many processes share the batch.
    """

    generator: torch.Generator
    batch: int
    share: slice = field(default_factory=lambda: slice(None))

    def uniform(self) -> Tensor:
        """(images here,) in [0, 1)."""
        return torch.rand(self.batch, generator=self.generator)[self.share]

    def integers(self, below: int) -> Tensor:
        """(images here,) in 0 .. below - 1."""
        return torch.randint(below, (self.batch,), generator=self.generator)[self.share]
