"""Work units: contiguous blocks of images, each seeded by (seed, attack, eps, block).

The images of a block that still need the attack are attacked together. What a unit finds depends on nothing
outside it, so that one process, several, and a resumed run agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.programs import ProgramName
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.network import CertifiedClassifier

OnUnit = Callable[[int], None]
"""Called with the number of images of a unit that is done, attacked or not."""

KEPT_PICTURES = 8
"""By default: memory does not grow with the images."""


class Findings:
    """The closest adversarial point found so far, per image: distance (N,) float64 on the CPU, by which attack, and
    which program misclassifies it.

    The points themselves, ``pictures``, are kept of the first ``kept`` images only, None for all: an image that is
    one of them when all is found was one of them all along, because more can only be found.
    """

    def __init__(self, count: int, *, kept: int | None = KEPT_PICTURES) -> None:
        self.kept = kept
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64)
        self.attack = [""] * count
        self.program = [""] * count
        self.pictures: dict[int, AdversarialImage] = {}

    def add(
        self,
        index: Tensor,
        distance: Tensor,
        attack: str,
        program: Sequence[str],
        pictures: Iterable[AdversarialImage] = (),
    ) -> None:
        closer = distance < self.distance[index]
        programs = [name for name, hit in zip(program, closer.tolist(), strict=True) if hit]
        index = index[closer]
        self.distance[index] = distance[closer]
        positions = index.tolist()
        for position, name in zip(positions, programs, strict=True):
            self.attack[position], self.program[position] = attack, name
        self._keep(picture for picture in pictures if picture.index in positions)

    def merged(self, other: Findings) -> Findings:
        """The closer of the two, image by image."""
        best = Findings(len(self.attack), kept=self.kept)
        best.distance = torch.minimum(self.distance, other.distance)
        closer = (other.distance < self.distance).tolist()
        best.attack = [b if hit else a for hit, a, b in zip(closer, self.attack, other.attack, strict=True)]
        best.program = [b if hit else a for hit, a, b in zip(closer, self.program, other.program, strict=True)]
        best._keep(picture for picture in self.pictures.values() if not closer[picture.index])
        best._keep(picture for picture in other.pictures.values() if closer[picture.index])
        return best

    def _keep(self, pictures: Iterable[AdversarialImage]) -> None:
        self.pictures |= {picture.index: picture for picture in pictures}
        if self.kept is not None:
            for index in sorted(self.pictures)[self.kept :]:
                del self.pictures[index]


class _Settings(TypedDict):
    eps: float
    seed: int
    program: ProgramName


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
                settings: _Settings = {"eps": eps, "seed": unit_draws, "program": program}
                units.append(_attacked(stage, model, blocks, block, rows, settings, pictures=room))
                room = None if room is None else room - len(units[-1].pictures)
            on_unit(len(span))
        return units

    ranks = blocks.ranks
    units = [unit for part in ranks.gather(ranks.together(attack_own_blocks)) for unit in part]
    for unit in units:
        findings.add(unit.index, unit.distance, stage.name, unit.program, unit.pictures)
    return sum(unit.forwards for unit in units)


def _attacked(
    stage: EmpiricalAttack,
    model: CertifiedClassifier,
    blocks: Blocks,
    block: int,
    rows: Tensor,
    settings: _Settings,
    *,
    pictures: int | None,
) -> _Unit:
    pixels = blocks.read(block)
    x = pixels[rows.to(pixels.device)].to(model.device)
    index = rows + blocks.span(block).start
    result = stage(model, x, blocks.labels[index].to(model.device), **settings)
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
