"""Work units: contiguous blocks of images, their draws seeded by (seed, attack, block, part).

The images of a block that still need the attack are attacked together, at all radii at once, at most as many at a time
as the block has images. What a unit finds depends on nothing outside it, so that one process, several, and a resumed
run agree.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lip_plugin.evaluate.attack import AttackResult, EmpiricalAttack
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.programs import ProgramName, refutes
from lip_plugin.evaluate.request import KEPT_PICTURES
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.evaluate.units import Unit, UnitKey, unit_of
from lip_plugin.network import CertifiedClassifier

logger = logging.getLogger(__name__)

OnUnit = Callable[[int], None]
"""Called with the number of images of a unit that is done, attacked or not."""


class _Closest:
    """Per image the distance (N,) float64 of the closest point so far, infinite without one, and who found it."""

    def __init__(self, count: int) -> None:
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64)
        self.attack = [""] * count

    def add(self, index: Tensor, distance: Tensor, attack: str) -> Tensor:
        """(n,) bool: which of the points at ``index`` (n,) are now the closest."""
        closer = distance < self.distance[index]
        self.distance[index[closer]] = distance[closer]
        for position in index[closer].tolist():
            self.attack[position] = attack
        return closer

    def merged(self, other: _Closest) -> _Closest:
        best = _Closest(len(self.attack))
        best.distance = torch.minimum(self.distance, other.distance)
        closer = (other.distance < self.distance).tolist()
        best.attack = [b if hit else a for hit, a, b in zip(closer, self.attack, other.attack, strict=True)]
        return best


class Findings:
    """The closest adversarial point found so far, per image: its distance, by which attack, and whom it fools.

    Of points that float64 misclassifies the closest is kept by itself: one that fools the forward alone may lie nearer,
    and must not hide that a certificate is refuted. The points themselves, ``pictures``, are kept of the first ``kept``
    images only, None for all: an image that is one of them when all is found was one of them all along, because more
    can only be found. ``unit`` names the unit of a journal that holds an image's point, "" without a journal.
    ``nearest`` (N,) is what `AttackResult` says under that name.
    """

    def __init__(self, count: int, *, kept: int | None = KEPT_PICTURES) -> None:
        self.kept = kept
        self.nearest = torch.full((count,), torch.inf, dtype=torch.float64)
        self._any, self._float64 = _Closest(count), _Closest(count)
        self.program, self.unit = [""] * count, [""] * count
        self.pictures: dict[int, AdversarialImage] = {}

    @property
    def distance(self) -> Tensor:
        """(N,) float64 on the CPU."""
        return self._any.distance

    @property
    def attack(self) -> list[str]:
        return self._any.attack

    def refuting(self, arithmetic: str) -> tuple[Tensor, list[str]]:
        """Distance (N,) and attack of the closest point that says something against certificates of this arithmetic."""
        chosen = self._any if refutes("forward", arithmetic) else self._float64
        return chosen.distance, chosen.attack

    def add(
        self,
        index: Tensor,
        distance: Tensor,
        attack: str,
        program: Sequence[str],
        pictures: Iterable[AdversarialImage] = (),
        unit: str = "",
    ) -> None:
        of_float64 = torch.tensor([name == "float64" for name in program], dtype=torch.bool)
        self._float64.add(index[of_float64], distance[of_float64], attack)
        closer = self._any.add(index, distance, attack).tolist()
        found = {at: name for at, name, hit in zip(index.tolist(), program, closer, strict=True) if hit}
        for position, name in found.items():
            self.program[position], self.unit[position] = name, unit
        self._keep(picture for picture in pictures if picture.index in found)

    def merged(self, other: Findings) -> Findings:
        """The closer of the two, image by image."""
        best = Findings(len(self.program), kept=self.kept)
        closer = (other.distance < self.distance).tolist()
        best._any, best._float64 = self._any.merged(other._any), self._float64.merged(other._float64)
        best.program = [b if hit else a for hit, a, b in zip(closer, self.program, other.program, strict=True)]
        best.unit = [b if hit else a for hit, a, b in zip(closer, self.unit, other.unit, strict=True)]
        best._keep(picture for picture in self.pictures.values() if not closer[picture.index])
        best._keep(picture for picture in other.pictures.values() if closer[picture.index])
        return best

    def _keep(self, pictures: Iterable[AdversarialImage]) -> None:
        self.pictures |= {picture.index: picture for picture in pictures}
        if self.kept is not None:
            for index in sorted(self.pictures)[self.kept :]:
                del self.pictures[index]


def attack_in_blocks(
    stage: EmpiricalAttack,
    model: CertifiedClassifier,
    blocks: Blocks,
    todo: Tensor,
    findings: Findings,
    *,
    eps: Sequence[float],
    seed: int,
    program: ProgramName,
    step: str,
    on_unit: OnUnit,
) -> tuple[int, ...]:
    """Run one attack on the images that ``todo`` (E, N) names at each of the E radii ``eps``; add to ``findings``.

    Returns the image-forwards at each radius: those of a batch are shared out by the images that it had of each. Every
    rank attacks in its own blocks; findings and forwards are those of all ranks, on all of them. ``step`` names the
    place of the stage among all that run, for the journal of the blocks.
    """

    on_disk = findings.kept is None and blocks.journal is not None

    def attack_own_blocks() -> list[tuple[Unit, str]]:
        units: list[tuple[Unit, str]] = []
        room = 0 if on_disk else findings.kept  # of this rank's first images: all that may travel to the others
        for block in blocks.owned_by(blocks.ranks.rank):
            span = blocks.span(block)
            within = todo[:, span.start : span.stop]
            if bool(within.any()):  # pixels are read for blocks with something left to attack
                draws = partial(unit_seed, seed, stage.name, block)
                attack = partial(stage, program=program)
                rows = _Rows.of(within, eps, stage)
                attacked = partial(
                    _attacked, attack, model, blocks, block, rows, draws, pictures=None if blocks.journal else room
                )
                key = UnitKey(step, block, within, eps)
                unit = unit_of(model, blocks, key, attacked).with_pictures(room)
                broken = int(unit.distance.isfinite().sum())
                logger.debug(
                    "%s, block %d of %d: %d of %d images broken",
                    stage.name,
                    block + 1,
                    blocks.count,
                    broken,
                    len(unit.index),
                )
                units.append((unit, key.name if on_disk else ""))
                room = None if room is None else room - len(unit.pictures)
            on_unit(len(span))
        return units

    ranks = blocks.ranks
    units = [unit for part in ranks.gather(ranks.together(attack_own_blocks)) for unit in part]
    for unit, name in units:
        findings.add(unit.index, unit.distance, stage.name, unit.program, unit.pictures, name)
        findings.nearest[unit.index] = torch.minimum(findings.nearest[unit.index], unit.nearest)
    return tuple(sum(unit.forwards[at] for unit, _ in units) for at in range(len(eps)))


@dataclass(frozen=True)
class _Rows:
    """What is attacked of a block: ``image`` (n,) int64 within it at ``eps`` (n,) float64; ``shares`` (E, n).

    A minimum-norm attack sees an image once, for all radii up to the largest; others see it at each of them.
    """

    image: Tensor
    eps: Tensor
    shares: Tensor

    @classmethod
    def of(cls, todo: Tensor, eps: Sequence[float], stage: EmpiricalAttack) -> _Rows:
        """From ``todo`` (E, B)."""
        radii = torch.tensor(eps, dtype=torch.float64)
        if stage.minimum_norm:
            image = todo.any(dim=0).nonzero().squeeze(1)
            wanted = todo[:, image]
            return cls(image, (wanted * radii[:, None]).amax(dim=0), wanted)
        at, image = todo.nonzero().unbind(1)
        return cls(image, radii[at], at == torch.arange(len(eps))[:, None])

    def split(self, size: int) -> Iterable[_Rows]:
        parts = (self.image.split(size), self.eps.split(size), self.shares.split(size, dim=1))
        return map(_Rows, *parts)

    def shared_out(self, forwards: int) -> Tensor:
        """(E,) int64, the forwards of these rows by radius; their sum is what is given."""
        weight = self.shares.sum(dim=1)
        upto = weight.cumsum(0) * forwards // weight.sum()
        return upto.diff(prepend=torch.zeros(1, dtype=torch.int64))


def _attacked(
    attack: Callable[..., AttackResult],
    model: CertifiedClassifier,
    blocks: Blocks,
    block: int,
    rows: _Rows,
    draws: Callable[[int], int],
    *,
    pictures: int | None,
) -> Unit:
    pixels, start = blocks.read(block), blocks.span(block).start
    best = _Best(len(blocks.span(block)))
    forwards = torch.zeros(len(rows.shares), dtype=torch.int64)
    for part, chosen in enumerate(rows.split(blocks.size)):
        x = pixels[chosen.image.to(pixels.device)].to(model.device)
        y = blocks.labels[chosen.image + start].to(model.device)
        result = attack(model, x, y, eps=chosen.eps, seed=draws(part))
        best.add(chosen.image, x, result)
        forwards += chosen.shared_out(result.forwards)
    return best.unit(start, tuple(forwards.tolist()), pictures=pictures)


class _Best:
    """Per image of a block the closest point that its rows have found."""

    def __init__(self, count: int) -> None:
        self._attacked = torch.zeros(count, dtype=torch.bool)
        self._distance = torch.full((count,), torch.inf, dtype=torch.float64)
        self._nearest = self._distance.clone()
        self._program = [""] * count
        self._pictures: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, image: Tensor, x: Tensor, result: AttackResult) -> None:
        """``image`` (n,) says which images x (n, C, H, W) are; several may be the same."""
        self._attacked[image] = True
        distance, nearest = result.distance.cpu(), result.nearest.cpu()
        self._nearest.scatter_reduce_(0, image, nearest, "amin")
        for row in result.success.nonzero().squeeze(1).tolist():
            at = int(image[row])
            if distance[row] < self._distance[at]:
                self._distance[at], self._program[at] = distance[row], result.program[row]
                self._pictures[at] = x[row], result.adversarial[row]

    def unit(self, start: int, forwards: tuple[int, ...], *, pictures: int | None) -> Unit:
        """With the pictures of the first so many images that have one; the block's first image is ``start``."""
        index = self._attacked.nonzero().squeeze(1)
        kept = [
            AdversarialImage(at + start, *map(_copied, self._pictures[at])) for at in sorted(self._pictures)[:pictures]
        ]
        program = tuple(self._program[at] for at in index.tolist())
        return Unit(index + start, self._distance[index], self._nearest[index], program, forwards, tuple(kept))


def _copied(pixels: Tensor) -> Tensor:
    """Alone on the CPU: a view would keep, and send, its whole block."""
    return pixels.detach().to("cpu", copy=True)


def unit_seed(seed: int, attack: str, block: int, part: int) -> int:
    """31 bits that depend on the unit alone."""
    digest = hashlib.sha256(f"{seed}|{attack}|{block}|{part}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
