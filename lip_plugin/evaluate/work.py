"""Work units: contiguous blocks of images, each seeded by (seed, attack, eps, block).

The images of a block that still need the attack are attacked together. What a unit finds depends on nothing
outside it, so that one process, several, and a resumed run agree.
"""

from __future__ import annotations

import hashlib
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
from lip_plugin.network import CertifiedClassifier

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
    can only be found.
    """

    def __init__(self, count: int, *, kept: int | None = KEPT_PICTURES) -> None:
        self.kept = kept
        self._any, self._float64 = _Closest(count), _Closest(count)
        self.program = [""] * count
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
    ) -> None:
        of_float64 = torch.tensor([name == "float64" for name in program], dtype=torch.bool)
        self._float64.add(index[of_float64], distance[of_float64], attack)
        closer = self._any.add(index, distance, attack).tolist()
        found = {at: name for at, name, hit in zip(index.tolist(), program, closer, strict=True) if hit}
        for position, name in found.items():
            self.program[position] = name
        self._keep(picture for picture in pictures if picture.index in found)

    def merged(self, other: Findings) -> Findings:
        """The closer of the two, image by image."""
        best = Findings(len(self.program), kept=self.kept)
        closer = (other.distance < self.distance).tolist()
        best._any, best._float64 = self._any.merged(other._any), self._float64.merged(other._float64)
        best.program = [b if hit else a for hit, a, b in zip(closer, self.program, other.program, strict=True)]
        best._keep(picture for picture in self.pictures.values() if not closer[picture.index])
        best._keep(picture for picture in other.pictures.values() if closer[picture.index])
        return best

    def _keep(self, pictures: Iterable[AdversarialImage]) -> None:
        self.pictures |= {picture.index: picture for picture in pictures}
        if self.kept is not None:
            for index in sorted(self.pictures)[self.kept :]:
                del self.pictures[index]


@dataclass(frozen=True)
class _Unit:
    """What one block yielded: distances (n,) of the images at ``index`` (n,), infinite where nothing was found."""

    index: Tensor
    distance: Tensor
    program: tuple[str, ...]
    forwards: int
    pictures: tuple[AdversarialImage, ...]


def attack_in_blocks(
    stage: EmpiricalAttack,
    model: CertifiedClassifier,
    blocks: Blocks,
    todo: Tensor,
    findings: Findings,
    *,
    eps: float,
    seed: int,
    program: ProgramName,
    on_unit: OnUnit,
) -> int:
    """Run one attack on the images that ``todo`` (N,) names; add to ``findings``; return the image-forwards.

    Every rank attacks in its own blocks; findings and forwards are those of all ranks, on all of them.
    """

    def attack_own_blocks() -> list[_Unit]:
        units: list[_Unit] = []
        room = findings.kept  # of this rank's first images: all that may travel to the others
        for block in blocks.owned_by(blocks.ranks.rank):
            span = blocks.span(block)
            rows = todo[span.start : span.stop].nonzero().squeeze(1)
            if len(rows):  # pixels are read for blocks with something left to attack
                unit_draws = unit_seed(seed, stage.name, eps, block)
                attack = partial(stage, eps=eps, seed=unit_draws, program=program)
                units.append(_attacked(attack, model, blocks, block, rows, pictures=room))
                room = None if room is None else room - len(units[-1].pictures)
            on_unit(len(span))
        return units

    ranks = blocks.ranks
    units = [unit for part in ranks.gather(ranks.together(attack_own_blocks)) for unit in part]
    for unit in units:
        findings.add(unit.index, unit.distance, stage.name, unit.program, unit.pictures)
    return sum(unit.forwards for unit in units)


def _attacked(
    attack: Callable[[CertifiedClassifier, Tensor, Tensor], AttackResult],
    model: CertifiedClassifier,
    blocks: Blocks,
    block: int,
    rows: Tensor,
    *,
    pictures: int | None,
) -> _Unit:
    pixels = blocks.read(block)
    x = pixels[rows.to(pixels.device)].to(model.device)
    index = rows + blocks.span(block).start
    result = attack(model, x, blocks.labels[index].to(model.device))
    first = result.success.nonzero().squeeze(1)[:pictures].tolist()
    kept = tuple(AdversarialImage(int(index[row]), _copied(x[row]), _copied(result.adversarial[row])) for row in first)
    return _Unit(index, result.distance.cpu(), result.program, result.forwards, kept)


def _copied(pixels: Tensor) -> Tensor:
    """Alone on the CPU: a view would keep, and send, its whole block."""
    return pixels.detach().to("cpu", copy=True)


def unit_seed(seed: int, attack: str, eps: float, block: int) -> int:
    """31 bits that depend on the unit alone."""
    digest = hashlib.sha256(f"{seed}|{attack}|{eps!r}|{block}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
