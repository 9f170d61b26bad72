"""How much of a proved bound a network uses: the gradient that decides a radius over the constant that divides it.

A radius is the least (f_j - f_i) / K_ij, where K_ij >= Lip(f_j - f_i) is the pair bound; the class i of the least
quotient binds. ||grad (f_j - f_i)(x)|| is at most the constant of f_j - f_i near x, hence at most K_ij. In a network
that was trained without the bound it is far below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, check_images, pair_lipschitz_upper_bound
from lip_plugin.data import LabelledImages
from lip_plugin.network import CertifiedClassifier, float64_function, require_unaltered

TIGHTNESS_IMAGES = 256
"""How many images a command looks at, at most."""
LOOSE = 0.2
"""Below this median a certificate says little."""
_BLOCK = 32


@dataclass(frozen=True)
class Tightness:
    """``median`` of `gradient_over_pair_bound` over ``images`` that are right and certified.

    A lower estimate of how tight the pair bounds are: at most 1 but for rounding, and 1 says that they are reached.
    """

    median: float
    images: int

    @property
    def is_loose(self) -> bool:
        return self.median < LOOSE


def gradient_over_pair_bound(model: CertifiedClassifier, x: Tensor) -> Tensor:
    """(B,) float64 on the CPU, for images x (B, C, H, W) in [0,1]: ||grad (f_j - f_i)|| / K_ij at each of them.

    j is the prediction and i the class whose gap over its pair bound is least. Float64 throughout. NaN where all pair
    bounds are 0: then none decides anything. Raises DataError on bad input.
    """
    require_unaltered(model)
    check_images(model, x)
    pair = pair_lipschitz_upper_bound(model).to(model.device)
    with torch.inference_mode(False), torch.enable_grad():
        logits_of = float64_function(model.copied())
        blocks = x.detach().to(model.device, torch.float64).clone().split(_BLOCK)
        found = [_of_block(logits_of(block.requires_grad_()), block, pair) for block in blocks]
    return torch.cat(found).cpu() if found else torch.empty(0, dtype=torch.float64)


def _of_block(logits: Tensor, x: Tensor, pair: Tensor) -> Tensor:
    """(B,) of logits (B, K) that depend on x (B, C, H, W)."""
    prediction = logits.argmax(dim=1, keepdim=True)
    gap, bound = logits.gather(1, prediction) - logits, pair[prediction[:, 0]]
    quotient = torch.where(bound > 0, gap.detach() / bound, torch.inf)  # the prediction itself among them
    binding = quotient.argmin(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(gap.gather(1, binding).sum(), x)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1) / bound.gather(1, binding)[:, 0]


def tightness_estimate(
    model: CertifiedClassifier, images: LabelledImages, certificate: Certificate
) -> Tightness | None:
    """Over at most `TIGHTNESS_IMAGES` of the images, in blocks from all over the file; None where none is certified.

    ``certificate`` is that of all of them. Raises DataError on an unreadable picture.
    """
    ratios = list[Tensor]()
    for x, y, place in _blocks(images, model.dtype):
        rows = slice(place, place + len(x))
        kept = (certificate.prediction[rows] == y) & (certificate.radius[rows] > 0)
        ratios.append(gradient_over_pair_bound(model, x[kept]))
    numbers = torch.cat(ratios) if ratios else torch.empty(0)
    numbers = numbers[~numbers.isnan()]
    return Tightness(float(numbers.quantile(0.5)), len(numbers)) if len(numbers) else None


def _blocks(images: LabelledImages, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Images, labels and the position of the first one: files may be sorted by class."""
    wanted = TIGHTNESS_IMAGES // _BLOCK
    step = max(1, -(-len(images) // _BLOCK) // wanted)
    for index, (x, y) in enumerate(islice(images.blocks(_BLOCK, dtype, step=step), wanted)):
        yield x, y, index * step * _BLOCK
