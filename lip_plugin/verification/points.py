"""The stored adversarial points, tried again: inside the box, as far as claimed, and misclassified or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate.attack import distances
from lip_plugin.evaluate.programs import Judge, names_of
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.limits import images_at_once
from lip_plugin.submission.layout import PERTURBATIONS
from lip_plugin.submission.perturbations import Perturbations, adversarial_points, in_box
from lip_plugin.verification.agreement import numbers_agree
from lip_plugin.verification.checks import Check, check
from lip_plugin.verification.claims import Claims

_BLOCK = 256
_SHOWN = 5


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
            of_block = (stored.index >= number * size) & (stored.index < (number + 1) * size)
            if not bool(of_block.any()):
                continue
            rows = stored.index[of_block] - number * size
            image = x[rows].to(model.device)
            points = adversarial_points(image, stored.delta[of_block].to(model.device))
            float64, forward = (wrong.cpu() for wrong in judge(points, y[rows].to(model.device)))
            columns.append((distances(points, image).cpu(), in_box(points).cpu(), float64, forward))
    if not columns:
        nothing = torch.empty(0)
        return TriedPoints(stored.index, nothing.double(), nothing.bool(), nothing.bool(), nothing.bool())
    return TriedPoints(stored.index, *(torch.cat(column) for column in zip(*columns, strict=True)))


def point_checks(tried: TriedPoints, claims: Claims) -> Iterator[Check]:
    """The first few points that are not what is claimed, then how many are."""
    wrong = list(_wrong_points(tried, claims))
    yield from wrong[:_SHOWN]
    indices = set(tried.index.tolist())
    claimed = [at for at, distance in enumerate(claims.points.adversarial_distance) if math.isfinite(distance)]
    missing = [at for at in claimed if at not in indices]
    for at in islice(missing, _SHOWN):
        distance = f"at distance {claims.points.adversarial_distance[at]:.9g}"
        yield check(PERTURBATIONS, f"point of image {at}", distance, "missing", agrees=False)
    good = len(tried.index) - len(wrong)
    yield check(PERTURBATIONS, "points in the box, misclassified, within eps", len(claimed), good)


def _wrong_points(tried: TriedPoints, claims: Claims) -> Iterator[Check]:
    largest = claims.report.eps[-1].eps
    rows = zip(tried.index.tolist(), tried.apart.tolist(), tried.inside.tolist(), tried.fooling.tolist(), strict=True)
    for index, apart, inside, fooling in rows:
        what = f"point of image {index}"
        claimed = claims.points.adversarial_distance[index]
        if apart > largest:
            yield check(PERTURBATIONS, what, f"within eps {largest:.9g}", f"at distance {apart:.9g}", agrees=False)
        elif not inside:
            yield check(PERTURBATIONS, what, "inside [0,1]", "outside", agrees=False)
        elif not fooling:
            yield check(PERTURBATIONS, what, "misclassified", "classified as its label", agrees=False)
        elif not numbers_agree(claimed, apart):
            yield check(PERTURBATIONS, what, f"at distance {claimed:.9g}", f"{apart:.9g}", agrees=False)
