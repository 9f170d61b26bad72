"""Work units: contiguous blocks of images, each seeded by (seed, attack, eps, block).

The images of a block that still need the attack are attacked together. What a unit finds depends on nothing
outside it, so that one process, several, and a resumed run agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.network import CertifiedClassifier

OnUnit = Callable[[int], None]
"""Called with the number of images of a unit that is done, attacked or not."""


@dataclass(frozen=True)
class Images:
    """The network and the images it is evaluated on, x (N, C, H, W) in the network's dtype, y (N,)."""

    model: CertifiedClassifier
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


class Findings:
    """The closest adversarial point found so far, per image: distance (N,) float64 on the CPU, and by which attack."""

    def __init__(self, count: int) -> None:
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64)
        self.attack = [""] * count

    def add(self, index: Tensor, distance: Tensor, attack: str) -> None:
        for position, value in zip(index.tolist(), distance.tolist(), strict=True):
            if value < float(self.distance[position]):
                self.distance[position], self.attack[position] = value, attack

    def merged(self, other: Findings) -> Findings:
        """The closer of the two, image by image."""
        best = Findings(len(self.attack))
        for part in (self, other):
            for position, name in enumerate(part.attack):
                if float(part.distance[position]) < float(best.distance[position]):
                    best.distance[position], best.attack[position] = part.distance[position], name
        return best


def attack_in_blocks(
    stage: EmpiricalAttack,
    images: Images,
    todo: Tensor,
    findings: Findings,
    *,
    eps: float,
    seed: int,
    block_size: int,
    on_unit: OnUnit,
) -> int:
    """Run one attack on the images that ``todo`` (N,) names; add to ``findings``; return the image-forwards."""
    forwards = 0
    for block, start in enumerate(range(0, len(images), block_size)):
        index = todo[start : start + block_size].nonzero().squeeze(1) + start
        if len(index):
            chosen = index.to(images.x.device)
            unit = unit_seed(seed, stage.name, eps, block)
            result = stage(images.model, images.x[chosen], images.y[chosen], eps=eps, seed=unit)
            findings.add(index, result.distance.cpu(), stage.name)
            forwards += result.forwards
        on_unit(min(block_size, len(images) - start))
    return forwards


def unit_seed(seed: int, attack: str, eps: float, block: int) -> int:
    """31 bits that depend on the unit alone."""
    digest = hashlib.sha256(f"{seed}|{attack}|{eps!r}|{block}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
