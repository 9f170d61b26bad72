"""What one work unit of an attack yields, and its way into a journal and back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.geometry import distances
from lip_plugin.evaluate.journal import Journal
from lip_plugin.evaluate.programs import Judge, names_of
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema.kinds import MOST_EPS

_PROGRAMS = ("", "forward", "float64")
_APART = 1e-12
"""Relative: the order in which a sum of squares is formed depends on how many rows there are beside it."""


@dataclass(frozen=True)
class Unit:
    """Distances (n,) float64 of the images at ``index`` (n,), infinite where nothing was found.

    ``forwards`` are those at each eps. ``pictures``, in ascending order, are of images for which something was found.
    """

    index: Tensor
    distance: Tensor
    nearest: Tensor
    program: tuple[str, ...]
    forwards: tuple[int, ...]
    pictures: tuple[AdversarialImage, ...]

    def with_pictures(self, most: int | None) -> Unit:
        """Of the first so many images that have one."""
        return self if most is None else replace(self, pictures=self.pictures[: max(most, 0)])


@dataclass(frozen=True)
class UnitKey:
    """Which unit: ``step`` is the place of its stage among all that run, as a part of a file's name.

    ``todo`` (E, B) bool says which of the block's images are attacked at each of the radii ``eps``.
    """

    step: str
    block: int
    todo: Tensor
    eps: Sequence[float]

    @property
    def name(self) -> str:
        return f"{self.step}-{self.block:06}"

    @property
    def image(self) -> Tensor:
        """(n,) int64: the images within the block that are attacked at all."""
        return self.todo.any(dim=0).nonzero().squeeze(1)


def unit_of(model: CertifiedClassifier, blocks: Blocks, key: UnitKey, attacked: Callable[[], Unit]) -> Unit:
    """From the journal where it is there, of the same images; else what ``attacked`` finds, with all pictures, is kept.

    Raises ConfigError where the file is damaged, of something else, or its points are not what it says.
    """
    journal = blocks.journal
    if journal is None:
        return attacked()
    taken = journal.take(key.name, key.block, largest=_largest(blocks, key.block))
    if taken is not None:
        tensors, seconds = taken
        try:
            unit = _from_tensors(model, blocks, key, tensors)
        except ValueError as error:
            raise journal.refusal(key.name, key.block, error) from error
        if unit is not None:
            journal.seconds += seconds
            return unit
    return _kept(journal, key, attacked)


def points_of(blocks: Blocks, name: str, block: int, images: Sequence[int]) -> dict[int, Tensor]:
    """From the unit of that name, by image (within the block) of ``images``: its point (C, H, W).

    Raises ConfigError where the unit is not there any more, or does not hold them.
    """
    journal = blocks.journal
    if journal is None:
        raise ValueError("nothing was kept")
    taken = journal.take(name, block, largest=_largest(blocks, block))
    tensors = {} if taken is None else taken[0]
    if not tensors.keys() >= {"todo", "program", "points"}:
        raise journal.refusal(name, block, "the points that were found are not there any more")
    todo, points = tensors["todo"], tensors["points"]
    found = todo.any(dim=0).nonzero().squeeze(1)[tensors["program"] > 0].tolist()
    rows = {image: row for row, image in enumerate(found)}
    if len(points) != len(found) or not rows.keys() >= set(images):
        raise journal.refusal(name, block, "the points that were found are not there any more")
    return {image: points[rows[image]].clone() for image in images}


def _kept(journal: Journal, key: UnitKey, attacked: Callable[[], Unit]) -> Unit:
    started = time.perf_counter()
    unit = attacked()
    tensors = {
        "todo": key.todo,
        "distance": unit.distance,
        "nearest": unit.nearest,
        "program": torch.tensor([_PROGRAMS.index(name) for name in unit.program], dtype=torch.uint8),
        "forwards": torch.tensor(unit.forwards, dtype=torch.int64),
    }
    if unit.pictures:
        tensors["points"] = torch.stack([picture.adversarial for picture in unit.pictures])
    journal.keep(key.name, key.block, tensors, seconds=time.perf_counter() - started)
    return unit


def _largest(blocks: Blocks, block: int) -> int:
    """Bytes of the tensors of a unit in which every image of the block is attacked, and broken."""
    count, pixels = len(blocks.span(block)), math.prod(blocks.images.image_shape)
    return MOST_EPS * (count + 8) + count * (17 + 8 * pixels)


def _from_tensors(model: CertifiedClassifier, blocks: Blocks, key: UnitKey, tensors: dict[str, Tensor]) -> Unit | None:
    """None where other images were to be attacked. Raises ValueError: every point is judged again."""
    points = tensors.pop("points", None)
    _require_shapes(key, tensors)
    if not torch.equal(tensors["todo"], key.todo):
        return None
    _require_values(key, tensors)
    program = tensors["program"]
    names = tuple(_PROGRAMS[one] for one in program.tolist())
    found, distance = program > 0, tensors["distance"]
    pictures = _judged(model, blocks, key.block, key.image[found], points, distance[found], names)
    index, forwards = key.image + blocks.span(key.block).start, tuple(tensors["forwards"].tolist())
    return Unit(index, distance, tensors["nearest"], names, forwards, pictures)


def _require_shapes(key: UnitKey, tensors: dict[str, Tensor]) -> None:
    """Images may be others than ``key`` says: what is attacked depends on what was found before."""
    todo = tensors.get("todo", torch.empty(0))
    count = int(todo.any(dim=0).sum()) if todo.dim() == 2 else 0
    expected = {
        "todo": (torch.bool, tuple(key.todo.shape)),
        "distance": (torch.float64, (count,)),
        "nearest": (torch.float64, (count,)),
        "program": (torch.uint8, (count,)),
        "forwards": (torch.int64, (len(key.eps),)),
    }
    if {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()} != expected:
        raise ValueError("it holds no findings of this block")


def _require_values(key: UnitKey, tensors: dict[str, Tensor]) -> None:
    distance, nearest, program = tensors["distance"], tensors["nearest"], tensors["program"]
    eps = torch.tensor(key.eps, dtype=torch.float64)
    reach = (key.todo[:, key.image] * eps[:, None]).amax(dim=0)
    found = program > 0
    if not bool(((distance <= reach) == found).all() and (found | distance.isposinf()).all()):
        raise ValueError("it holds distances beyond those that were asked for")
    if not bool((nearest <= distance).all() and (nearest >= 0).all() and (program < len(_PROGRAMS)).all()):
        raise ValueError("it holds distances or programs that are none")
    if not bool((tensors["forwards"] >= 0).all()):
        raise ValueError("it holds counts that are none")


def _judged(
    model: CertifiedClassifier,
    blocks: Blocks,
    block: int,
    image: Tensor,
    points: Tensor | None,
    distance: Tensor,
    names: tuple[str, ...],
) -> tuple[AdversarialImage, ...]:
    """The points (m, C, H, W) of the block's images ``image`` (m,), if they are what is said of them."""
    shape = (len(image), *blocks.images.image_shape)
    if (points is None) != (len(image) == 0) or (points is not None and points.shape != shape):
        raise ValueError(f"it does not hold the points of {len(image)} images")
    if points is None:
        return ()
    if points.dtype != blocks.dtype or not bool(((points >= 0) & (points <= 1)).all()):
        raise ValueError("it holds points that are no images")
    start = blocks.span(block).start
    pixels = blocks.read(block)
    x, y = pixels[image.to(pixels.device)].to(model.device), blocks.labels[image + start].to(model.device)
    candidates = points.to(model.device)
    with torch.no_grad():
        float64, forward = (wrong.cpu() for wrong in Judge(model)(candidates, y))
        apart = distances(candidates, x).cpu()
    if names_of(float64, forward) != tuple(filter(None, names)):
        raise ValueError("it holds points that are not misclassified as it says")
    if not bool(((apart - distance).abs() <= _APART * distance).all()):
        raise ValueError("it holds points that are not where it says")
    found = zip(image.tolist(), x.cpu(), points, strict=True)
    return tuple(AdversarialImage(at + start, own.clone(), point.clone()) for at, own, point in found)
