"""The stored adversarial points, tried again: inside the box, as far as claimed, and misclassified or not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate.geometry import distances
from lip_plugin.evaluate.programs import Judge, names_of
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.limits import images_at_once
from lip_plugin.submission.perturbations import Perturbations, adversarial_points, in_box

_BLOCK = 256


@dataclass(frozen=True)
class TriedPoints:
    """Of M stored points: ``index`` (M,), float64 ``apart`` (M,) from their images, ``inside`` [0,1], who is fooled."""

    index: Tensor
    apart: Tensor
    inside: Tensor
    float64: Tensor
    forward: Tensor

    @property
    def fooling(self) -> Tensor:
        """(M,) bool: misclassified by either forward."""
        return self.float64 | self.forward

    def program(self, count: int) -> tuple[str, ...]:
        """Per image: which forward the points that are what they claim to be fool; "" elsewhere."""
        names, good = [""] * count, (self.inside & self.fooling).tolist()
        for index, name, holds in zip(self.index.tolist(), names_of(self.float64, self.forward), good, strict=True):
            names[index] = name if holds else ""
        return tuple(names)

    def distance(self, count: int) -> Tensor:
        """(count,) float64: of the points that are what they claim to be; infinite elsewhere."""
        found = torch.full((count,), torch.inf, dtype=torch.float64)
        good = self.inside & self.fooling
        found[self.index[good]] = self.apart[good]
        return found


def tried_points(model: CertifiedClassifier, images: LabelledImages, stored: Perturbations) -> TriedPoints:
    """Images block by block, and of each block the points that belong to it."""
    judge = Judge(model)
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        size = images_at_once(model.layers, model.input_shape, _BLOCK)
        for number, (x, y) in enumerate(images.blocks(size, model.dtype)):
            index, delta = stored.of_images(number * size, (number + 1) * size)
            if not len(index):
                continue
            rows = index - number * size
            image = x[rows].to(model.device)
            points = adversarial_points(image, delta.to(model.device))
            float64, forward = (wrong.cpu() for wrong in judge(points, y[rows].to(model.device)))
            columns.append((distances(points, image).cpu(), in_box(points).cpu(), float64, forward))
    if not columns:
        nothing = torch.empty(0)
        return TriedPoints(stored.index, nothing.double(), nothing.bool(), nothing.bool(), nothing.bool())
    return TriedPoints(stored.index, *(torch.cat(column) for column in zip(*columns, strict=True)))
