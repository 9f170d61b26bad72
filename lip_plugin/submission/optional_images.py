"""The images themselves, for bundles whose maker has asked for them and may pass them on."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from lip_plugin.data import LabelledImages
from lip_plugin.data.labelled import load_into_memory
from lip_plugin.evaluate.request import KEPT_PICTURES
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.submission.perturbations import Perturbations, adversarial_points

ROBUSTBENCH_EPS = 0.5
_BLOCK = 16  # few, of however many pixels


def first_pictures(images: LabelledImages, perturbations: Perturbations) -> tuple[AdversarialImage, ...]:
    """The first few images that have an adversarial point, with that point as stored: what a page shows."""
    index = perturbations.index[:KEPT_PICTURES].tolist()
    delta = dict(zip(index, perturbations.delta(0, len(index)), strict=True))
    found: list[AdversarialImage] = []
    for number, (x, _) in enumerate(images.blocks(_BLOCK, perturbations.dtype)):
        for index in [index for index in delta if index // _BLOCK == number]:
            image = x[index % _BLOCK]
            found.append(AdversarialImage(index, image, adversarial_points(image, delta[index])))
        if len(found) == len(delta):
            break
    return tuple(found)


def images_npz(images: LabelledImages) -> bytes:
    """x (N, C, H, W), uint8 where that is exact, else floats in [0,1]; y (N,). As `--data` reads it."""
    loaded = load_into_memory(images)
    content = io.BytesIO()
    np.savez(content, x=loaded.pixels, y=loaded.labels)
    return content.getvalue()


def adversarial_images(images: LabelledImages, perturbations: Perturbations, distance: Tensor) -> bytes:
    """A .pt file of the whole test set (N, C, H, W) float32, as RobustBench's issue for new evaluations asks for.

    Images with an adversarial point within 0.5, which ``distance`` (N,) tells, are replaced by it.
    """
    blocks: list[Tensor] = []
    for number, (x, _) in enumerate(images.blocks(_BLOCK, perturbations.dtype)):
        index, delta = perturbations.of_images(number * _BLOCK, (number + 1) * _BLOCK)
        near = distance[index] <= ROBUSTBENCH_EPS
        rows, x = index[near] - number * _BLOCK, x.cpu().clone()
        x[rows] = adversarial_points(x[rows], delta[near])
        blocks.append(x.float())
    content = io.BytesIO()
    torch.save(torch.cat(blocks), content)
    return content.getvalue()
