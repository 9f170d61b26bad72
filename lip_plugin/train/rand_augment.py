"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) on a batch: one call per operation, not per image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import DataError
from lip_plugin.extras import require
from lip_plugin.train.draws import Draws

# torchvision's defaults, which the recipe of Hu et al. (ICLR 2024) takes over: 2 operations at 9 of 30.
_OPERATIONS_PER_IMAGE = 2
_MAGNITUDE = 9
_BINS = 31
_IDENTITY = 0

Operation = Callable[[Tensor, int], Tensor]
"""(images (B, C, H, W) uint8, sign of the magnitude) -> the same shape."""


def rand_augment(images: Tensor, probability: float, draws: Draws) -> Tensor:
    """Two random operations for each image that is drawn with ``probability``. (B, C, H, W) uint8, C 1 or 3.

    Images with the same operation are transformed together
    where they are. Raises DataError on other images, MissingDependencyError without torchvision.
    """
    _, channels, height, width = images.shape
    if images.dtype != torch.uint8 or channels not in (1, 3):
        raise DataError(f"RandAugment needs uint8 images with 1 or 3 channels, got {images.dtype} with {channels}")
    operations = _operations(height, width)
    chosen = draws.uniform() < probability
    for _ in range(_OPERATIONS_PER_IMAGE):
        drawn = draws.integers(len(operations))
        negative = draws.uniform() < 0.5
        code = torch.where(chosen, 2 * drawn + negative, 2 * _IDENTITY)
        images = _apply(operations, images, code)
    return images


def _apply(operations: list[Operation], images: Tensor, code: Tensor) -> Tensor:
    """Operation ``code // 2`` with the sign of ``code % 2`` on each image, in groups of equal code."""
    order = torch.argsort(code, stable=True)
    sizes = torch.bincount(code, minlength=2 * len(operations)).tolist()
    place = order.to(images.device)
    groups = images[place].split(sizes)
    done = [operations[index // 2](group, 1 - 2 * (index % 2)) for index, group in enumerate(groups) if len(group)]
    result = torch.empty_like(images)
    result[place] = torch.cat(done)
    return result


def _operations(height: int, width: int) -> list[Operation]:
    """Table 1 of the paper in torchvision's order and strengths. The sign turns what has a direction."""
    lib: Any = require("torchvision.transforms.v2.functional")
    shear = math.degrees(math.atan(_level(0.3)))
    across, down = (int(_level(150 / 331 * side)) for side in (width, height))
    angle, colour = _level(30.0), _level(0.9)
    bits = 8 - round(4 * _MAGNITUDE / (_BINS - 1))
    threshold = 255 * (1 - _MAGNITUDE / (_BINS - 1))

    def affine(x: Tensor, translate: list[int], shears: list[float], center: list[float] | None) -> Tensor:
        return lib.affine(x, angle=0.0, translate=translate, scale=1.0, shear=shears, center=center)

    return [
        lambda x, sign: x,
        lambda x, sign: affine(x, [0, 0], [sign * shear, 0.0], [0, 0]),
        lambda x, sign: affine(x, [0, 0], [0.0, sign * shear], [0, 0]),
        lambda x, sign: affine(x, [sign * across, 0], [0.0, 0.0], None),
        lambda x, sign: affine(x, [0, sign * down], [0.0, 0.0], None),
        lambda x, sign: lib.rotate(x, angle=sign * angle),
        lambda x, sign: lib.adjust_brightness(x, 1 + sign * colour),
        lambda x, sign: lib.adjust_saturation(x, 1 + sign * colour),
        lambda x, sign: lib.adjust_contrast(x, 1 + sign * colour),
        lambda x, sign: lib.adjust_sharpness(x, 1 + sign * colour),
        lambda x, sign: lib.posterize(x, bits),
        lambda x, sign: lib.solarize(x, threshold),
        lambda x, sign: lib.autocontrast(x),
        lambda x, sign: lib.equalize(x),
    ]


def _level(strongest: float) -> float:
    """In float32, as torchvision computes it."""
    return float(torch.linspace(0.0, strongest, _BINS)[_MAGNITUDE])
