"""What a certificate may be asked about: finite pixels in [0,1] of the network's shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from lip_plugin.errors import ConfigError, DataError
from lip_plugin.network import CertifiedClassifier, tensor_flaw, way_to_tensor
from lip_plugin.types import ImageShape

Batches = DataLoader[Any] | Iterator[Tensor | Sequence[Tensor]]
"""Images (B, C, H, W), or sequences that begin with such; other iterables are more likely a mistake."""


def images_of_batches(batches: Batches) -> Iterator[Tensor]:
    """The images of every batch. Raises ConfigError for a loader that shuffles, DataError for an empty batch."""
    if isinstance(batches, DataLoader) and isinstance(batches.sampler, RandomSampler):
        raise ConfigError("the DataLoader shuffles: nobody could tell which radius is which image's; set shuffle=False")
    return map(_first, batches)


def _first(batch: Any) -> Any:
    if isinstance(batch, Tensor) or not isinstance(batch, list | tuple):
        return batch
    if not batch:
        raise DataError("a batch is empty; expected images (B, C, H, W), or a pair of images and labels")
    return batch[0]


def check_images(model: CertifiedClassifier, x: Tensor) -> None:
    """Raise DataError, in one line, unless x is a plain tensor (B, C, H, W), floating, finite and within [0,1]."""
    _require_plain(x, "images", "expected a dense torch tensor (B, C, H, W)")
    if x.dim() != 4 or tuple(x.shape[1:]) != model.input_shape:
        expected = ", ".join(map(str, model.input_shape))
        raise DataError(
            f"images have shape {tuple(x.shape)}; this model expects (B, {expected})"
            f"{_way_to_shape(x, model.input_shape)}"
        )
    if x.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise DataError(f"images are {x.dtype}; expected floating pixels in [0,1] (divide uint8 by 255)")
    if x.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(x.detach()))
    if not (low >= 0.0 and high <= 1.0):  # false for NaN too
        raise DataError(f"pixels span [{low:g}, {high:g}]; expected finite values in [0,1]{_way_to_range(low, high)}")


def check_labels(model: CertifiedClassifier, x: Tensor, y: Tensor) -> None:
    """Raise DataError unless y is (B,) integers within the classes."""
    _require_plain(y, "labels", f"expected a torch tensor of integers ({len(x)},)")
    if y.shape != x.shape[:1] or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        way = ": y.argmax(1) of scores or one-hot labels" if y.dim() == 2 and y.shape[-1] > 1 else ""
        raise DataError(f"labels are {y.dtype} of shape {tuple(y.shape)}; expected integers of shape ({len(x)},){way}")
    if len(y) and not (int(y.min()) >= 0 and int(y.max()) < model.num_classes):
        raise DataError(
            f"labels span [{int(y.min())}, {int(y.max())}]; this model has classes 0 to {model.num_classes - 1}"
        )


def _require_plain(value: Tensor, what: str, expected: str) -> None:
    if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"{what} are a {type(value).__name__}; {expected}{way_to_tensor(value)}")
    flaw = tensor_flaw(value)
    if flaw is not None:
        raise DataError(f"{what} are a tensor {flaw}; {expected}")


def _way_to_shape(x: Tensor, wanted: ImageShape) -> str:
    """What makes images of the network's shape of these, where that is plain to see."""
    channels, height, width = wanted
    if x.dim() == 4 and tuple(x.shape[1:]) == (height, width, channels):
        return ": channels come first, x.permute(0, 3, 1, 2)"
    if tuple(x.shape) == wanted:
        return ": one image is x[None]"
    if x.dim() != 4 and x[:1].numel() == channels * height * width:
        return f": x.reshape(-1, {channels}, {height}, {width})"
    return ""


def _way_to_range(low: float, high: float) -> str:
    if low >= 0.0 and 2.0 < high <= 255.0:
        return ": divide bytes by 255"
    return ": give images before normalisation, which belongs inside the network" if low < 0.0 else ""
