"""Adversarial points as differences from their images, so that they can be published where the images cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, RefusedError
from lip_plugin.evaluate import Report
from lip_plugin.evaluate.geometry import distances
from lip_plugin.evaluate.programs import Judge, names_of
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import ImageShape
from lip_plugin.untrusted import LARGEST_HEADER, PREFIX_BYTES, TensorEntry, open_regular, read_piece, tensor_entries

_BLOCK = 256
_BYTES = {"F32": 4, "F64": 8, "I64": 8}
_CODES = {torch.float32: "F32", torch.float64: "F64"}

# Rounding a difference moves its point by an ulp or so. Where that undoes it, the point goes along its line: as it is,
# then outward and inward by growing steps.
_SCALES = (1.0, *(1.0 + sign * 2.0**power for power in range(-24, -11) for sign in (1, -1)))


@dataclass(frozen=True)
class Perturbations:
    """``index`` (M,) int64, ascending, into the images; the differences lie in the file ``path``, from byte ``start``.

    M of them, ``image_shape`` and ``dtype`` each, may be more than fits into memory: they are read block by block.
    """

    path: Path
    index: Tensor
    image_shape: ImageShape
    dtype: torch.dtype
    start: int

    def __len__(self) -> int:
        return len(self.index)

    def of_images(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """What there is of the images ``first`` up to, but without, ``last``: index (m,) and differences (m, C, H, W).

        Raises CheckpointError where the file cannot be read any more.
        """
        begin, end = torch.searchsorted(self.index, torch.tensor([first, last])).tolist()
        return self.index[begin:end], self.delta(begin, end)

    def delta(self, begin: int, end: int) -> Tensor:
        """Differences (end - begin, C, H, W). Raises CheckpointError."""
        size = math.prod(self.image_shape) * self.dtype.itemsize
        try:
            content = bytearray(read_piece(self.path, self.start + begin * size, (end - begin) * size))
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror or error}") from error
        flat = torch.frombuffer(content, dtype=self.dtype) if content else torch.empty(0, dtype=self.dtype)
        return flat.view(end - begin, *self.image_shape)


def adversarial_points(x: Tensor, delta: Tensor) -> Tensor:
    """The points (M, C, H, W) that differences stand for: added in float64, rounded to the dtype of the images x."""
    return (x.double() + delta.double()).to(x.dtype)


def stored_perturbations(
    model: CertifiedClassifier, report: Report, path: Path
) -> tuple[Perturbations, Tensor, tuple[str, ...]]:
    """Write the report's adversarial points into the file ``path``, as differences.

    Also returns, of the points as stored, (N,) float64 distances, and which forward misclassifies each.
    Every stored point is checked again, exactly: in [0,1], misclassified by either forward, within the smallest
    eps of the grid at which the report calls its image broken and beyond those at which it does not. The report must
    hold a point of every image that has a finite distance. Raises RefusedError naming an image whose point rounding
    takes away, OSError where the file cannot be written.
    """
    distance = torch.full_like(report.points.distance, torch.inf)
    program = [""] * len(distance)
    index = report.points.distance.isfinite().nonzero().squeeze(1)
    if len(report.adversarial) != len(index):
        raise ValueError("the report does not hold the adversarial point of every image that has one")
    reach, header = _reach(report), _header(len(index), model.input_shape, model.dtype)
    with path.open("wb") as file:
        file.write(header + index.numpy().tobytes())
        for start in range(0, len(index), _BLOCK):
            rows, pictures = index[start : start + _BLOCK], report.adversarial[start : start + _BLOCK]
            if [picture.index for picture in pictures] != rows.tolist():
                raise ValueError("the report holds adversarial points of other images")
            delta, found, names = _stored(model, pictures, report.points.labels[rows], reach[rows])
            lost = rows[~found.isfinite()].tolist()
            if lost:
                raise RefusedError(
                    f"the adversarial point of image {lost[0]} does not survive rounding to {model.dtype}"
                )
            file.write(delta.numpy().tobytes())
            distance[rows] = found
            for row, name in zip(rows.tolist(), names, strict=True):
                program[row] = name
    stored = Perturbations(path, index, model.input_shape, model.dtype, len(header) + 8 * len(index))
    return stored, distance, tuple(program)


def _header(count: int, image_shape: ImageShape, dtype: torch.dtype) -> bytes:
    """How the file begins, as the library of safetensors would write it."""
    code, indices = _CODES[dtype], count * _BYTES["I64"]
    end = indices + count * math.prod(image_shape) * _BYTES[code]
    entries = {
        "index": {"dtype": "I64", "shape": [count], "data_offsets": [0, indices]},
        "delta": {"dtype": code, "shape": [count, *image_shape], "data_offsets": [indices, end]},
    }
    words = json.dumps(entries, separators=(",", ":")).encode()
    words += b" " * (-len(words) % PREFIX_BYTES)
    return len(words).to_bytes(PREFIX_BYTES, "little") + words


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


def read_perturbations(path: Path, *, images: int, image_shape: ImageShape, dtype: torch.dtype) -> Perturbations:
    """A stranger's file, about so many ``images``; what the points are worth is for the caller to find out.

    Raises CheckpointError, in one line, for anything but finite differences of that shape and dtype at ascending
    indices; nothing is allocated that the number of images does not account for.
    """
    try:
        return _opened(path, images, image_shape, dtype)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} does not hold perturbations: {error}") from error


def _opened(path: Path, images: int, image_shape: ImageShape, dtype: torch.dtype) -> Perturbations:
    code = _CODES[dtype]
    limit = PREFIX_BYTES + LARGEST_HEADER + images * (_BYTES["I64"] + math.prod(image_shape) * _BYTES[code])
    with open_regular(path, limit=limit) as (file, size):
        content = file.read(PREFIX_BYTES)
        words = int.from_bytes(content, "little")
        content += file.read(min(words, LARGEST_HEADER))
        entries = tensor_entries(content, f"{path} is not a readable safetensors file", _BYTES, size=size)
        _check_header(entries, image_shape, code)
        index, delta, begin = entries["index"], entries["delta"], PREFIX_BYTES + words
        file.seek(begin + index.start)
        indices = torch.frombuffer(bytearray(file.read(index.end - index.start)) or bytearray(8), dtype=torch.int64)
    found = Perturbations(path, indices[: index.shape[0]].clone(), image_shape, dtype, begin + delta.start)
    _check_values(found, images)
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
    for start in range(0, len(index), _BLOCK):
        if not bool(torch.isfinite(found.delta(start, min(start + _BLOCK, len(index)))).all()):
            raise ValueError("delta has NaN or infinite entries")
