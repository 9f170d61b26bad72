"""Adversarial points as differences from their images, so that they can be published where the images cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError, RefusedError
from lip_plugin.evaluate import Report
from lip_plugin.evaluate.geometry import distances
from lip_plugin.evaluate.programs import Judge, names_of
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import ImageShape
from lip_plugin.untrusted import LARGEST_HEADER, PREFIX_BYTES, TensorEntry, read_regular, tensor_entries

_BLOCK = 256
_BYTES = {"F32": 4, "F64": 8, "I64": 8}
_CODES = {torch.float32: "F32", torch.float64: "F64"}

# Rounding a difference moves its point by an ulp or so. Where that undoes it, the point goes along its line: as it is,
# then outward and inward by growing steps.
_SCALES = (1.0, *(1.0 + sign * 2.0**power for power in range(-24, -11) for sign in (1, -1)))


@dataclass(frozen=True)
class Perturbations:
    """``index`` (M,) int64, ascending, into the images; ``delta`` (M, C, H, W) in the model's dtype. On the CPU."""

    index: Tensor
    delta: Tensor

    def __len__(self) -> int:
        return len(self.index)


def adversarial_points(x: Tensor, delta: Tensor) -> Tensor:
    """The points (M, C, H, W) that differences stand for: added in float64, rounded to the dtype of the images x."""
    return (x.double() + delta.double()).to(x.dtype)


def stored_perturbations(model: CertifiedClassifier, report: Report) -> tuple[Perturbations, Tensor, tuple[str, ...]]:
    """The report's adversarial points as differences; of the points as stored (N,) float64 distances, and which
    forward misclassifies each.

    Every stored point is checked again, exactly: in [0,1], misclassified by either forward, within the smallest
    eps of the grid at which the report calls its image broken and beyond those at which it does not. The report must
    hold a point of every image that has a finite distance. Raises RefusedError naming an image whose point rounding
    takes away.
    """
    distance = torch.full_like(report.points.distance, torch.inf)
    program = [""] * len(distance)
    index = torch.tensor([picture.index for picture in report.adversarial], dtype=torch.int64)
    if not torch.equal(index, report.points.distance.isfinite().nonzero().squeeze(1)):
        raise ValueError("the report does not hold the adversarial point of every image that has one")
    reach = _reach(report)
    shape = (0, *model.input_shape)
    parts = [torch.empty(shape, dtype=model.dtype)]
    for start in range(0, len(index), _BLOCK):
        rows = index[start : start + _BLOCK]
        pictures = report.adversarial[start : start + _BLOCK]
        delta, found, names = _stored(model, pictures, report.points.labels[rows], reach[rows])
        lost = rows[~found.isfinite()].tolist()
        if lost:
            raise RefusedError(f"the adversarial point of image {lost[0]} does not survive rounding to {model.dtype}")
        parts.append(delta)
        distance[rows] = found
        for row, name in zip(rows.tolist(), names, strict=True):
            program[row] = name
    return Perturbations(index, torch.cat(parts)), distance, tuple(program)


def _reach(report: Report) -> Tensor:
    """(N, 2): the largest eps of the grid that does not reach the image's adversarial point, the smallest that does."""
    distance = report.points.distance
    reach = torch.tensor([[-torch.inf, torch.inf]], dtype=torch.float64).repeat(len(distance), 1)
    for eps in sorted(result.eps for result in report.eps):
        reach[distance > eps, 0] = eps
    for eps in sorted((result.eps for result in report.eps), reverse=True):
        reach[distance <= eps, 1] = eps
    return reach


def _stored(
    model: CertifiedClassifier, pictures: Sequence[AdversarialImage], labels: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Differences, distances and programs; a distance is infinite where no scale gives a point that holds."""
    judge = Judge(model)
    x = torch.stack([picture.image for picture in pictures]).to(model.device)
    line = torch.stack([picture.adversarial for picture in pictures]).to(model.device).double() - x.double()
    labels, reach = labels.to(model.device), reach.to(model.device)
    best = torch.zeros_like(x)
    distance = torch.full_like(reach[:, 0], torch.inf)
    for scale in _SCALES:
        delta = ((x.double() + scale * line).clamp(0.0, 1.0) - x.double()).to(x.dtype)
        points = adversarial_points(x, delta)
        apart = distances(points, x)
        within = (reach[:, 0] < apart) & (apart <= reach[:, 1])
        float64, forward = judge(points, labels)
        holds = (float64 | forward) & within & in_box(points)
        new = holds & distance.isinf()
        best[new], distance[new] = delta[new], apart[new]
        if bool(distance.isfinite().all()):
            break
    return best.cpu(), distance.cpu(), names_of(*judge(adversarial_points(x, best), labels))


def in_box(points: Tensor) -> Tensor:
    """(M,) bool: whether every pixel lies in [0,1]."""
    return ((points >= 0.0) & (points <= 1.0)).flatten(1).all(dim=1)


def dump_perturbations(perturbations: Perturbations) -> bytes:
    """A safetensors file of ``index`` and ``delta``."""
    return dump_safetensors({"index": perturbations.index.contiguous(), "delta": perturbations.delta.contiguous()})


def read_perturbations(path: Path, *, images: int, image_shape: ImageShape, dtype: torch.dtype) -> Perturbations:
    """A stranger's file, about so many ``images``; what the points are worth is for the caller to find out.

    Raises CheckpointError, in one line, for anything but finite differences of that shape and dtype at ascending
    indices; nothing is allocated that the number of images does not account for.
    """
    code = _CODES[dtype]
    pixels = image_shape[0] * image_shape[1] * image_shape[2]
    try:
        limit = PREFIX_BYTES + LARGEST_HEADER + images * (_BYTES["I64"] + pixels * _BYTES[code])
        content = read_regular(path, limit=limit)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        _check_header(tensor_entries(content, f"{path} is not a readable safetensors file", _BYTES), image_shape, code)
        tensors = load_safetensors(content)
        found = Perturbations(tensors["index"], tensors["delta"])
        _check_values(found, images)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} does not hold perturbations: {error}") from error
    return found


def _check_header(entries: dict[str, TensorEntry], image_shape: ImageShape, code: str) -> None:
    if set(entries) != {"index", "delta"}:
        raise ValueError("expected the tensors index and delta, and no others")
    index, delta = entries["index"], entries["delta"]
    if index.code != "I64" or len(index.shape) != 1:
        raise ValueError(f"index is {index.code} of shape {index.shape[:8]}; expected I64 (M,)")
    if delta.code != code or delta.shape != (*index.shape, *image_shape):
        expected = f"{code} {(*index.shape, *image_shape)}"
        raise ValueError(f"delta is {delta.code} of shape {delta.shape[:8]}; expected {expected}")


def _check_values(found: Perturbations, images: int) -> None:
    index = found.index
    if len(index) and not (int(index[0]) >= 0 and int(index[-1]) < images and bool((index.diff() > 0).all())):
        raise ValueError(f"indices must ascend from 0 to {images - 1} at most, none twice")
    if not bool(torch.isfinite(found.delta).all()):
        raise ValueError("delta has NaN or infinite entries")
