"""Augmentation of whole batches of uint8 images where they are, with draws from a CPU generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.train.draws import Draws
from lip_plugin.train.rand_augment import rand_augment


@dataclass(frozen=True)
class Augmentation:
    """Shift by up to ``crop`` pixels, mirror with probability one half, RandAugment with a probability."""

    crop: int = 0
    flip: bool = False
    rand_augment: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 0 or not 0 <= self.rand_augment <= 1:
            raise ConfigError(f"crop {self.crop} and rand_augment {self.rand_augment}: expected >= 0 and 0 to 1")


def augment_batch(images: Tensor, augmentation: Augmentation, draws: Draws) -> Tensor:
    """One draw per image for each kind that is asked for. (B, C, H, W) -> the same shape, dtype and device."""
    if augmentation.flip:
        images = random_flip(images, draws)
    if augmentation.crop:
        images = random_crop(images, augmentation.crop, draws)
    if augmentation.rand_augment:
        images = rand_augment(images, augmentation.rand_augment, draws)
    return images


def random_flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror left and right with probability one half."""
    flipped = draws.uniform() < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)


def random_crop(images: Tensor, margin: int, draws: Draws) -> Tensor:
    """A window of the same size out of the image with ``margin`` black pixels around it."""
    batch, channels, height, width = images.shape
    device = images.device
    down, right = (draws.integers(2 * margin + 1)[:, None].to(device) for _ in range(2))
    rows = (down + torch.arange(height, device=device))[:, None, :, None]
    columns = (right + torch.arange(width, device=device))[:, None, None, :]
    image = torch.arange(batch, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return F.pad(images, (margin,) * 4)[image, channel, rows, columns]
