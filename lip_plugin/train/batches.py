"""Batches of a data set that lives on the device as uint8: shuffled, augmented and scaled there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.train.config import AugmentConfig


def shuffled_batches(
    images: Tensor, labels: Tensor, batch_size: int, augment: AugmentConfig, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches (x float in [0,1], y) in an order drawn from ``generator``; the rest of the epoch is dropped."""
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(labels) - batch_size + 1, batch_size):
        index = order[start : start + batch_size]
        yield augmented(images[index], augment, generator).float() / 255, labels[index]


def augmented(images: Tensor, augment: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Random horizontal flips and shifts, one draw per image, in one batch. (B, C, H, W) -> the same shape."""
    batch, _, height, width = images.shape
    if augment.flip:
        flipped = torch.rand(batch, generator=generator) < 0.5
        images = torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)
    if augment.crop:
        margin = augment.crop
        images = F.pad(images, (margin,) * 4)
        down, right = torch.randint(0, 2 * margin + 1, (2, batch, 1), generator=generator)
        rows = (down + torch.arange(height))[:, None, :, None]
        columns = (right + torch.arange(width))[:, None, None, :]
        index = torch.arange(batch)[:, None, None, None]
        images = images[index, torch.arange(images.shape[1])[None, :, None, None], rows, columns]
    return images
