"""The layers as their papers' formulas say them, in the first torch code one would write: what ours is timed against.

They read the parameters of our modules and compute the same functions. Letters: C channels, n side of the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.models.layers.blocks.aoc import AocBlock
from lip_plugin.models.layers.blocks.aol import AolBlock
from lip_plugin.models.layers.blocks.base import Block
from lip_plugin.models.layers.blocks.cayley import CayleyBlock
from lip_plugin.models.layers.blocks.circular import CircularBlock
from lip_plugin.models.layers.blocks.gloro import GloroBlock
from lip_plugin.models.layers.blocks.lot import LotBlock
from lip_plugin.models.layers.blocks.potential import CplBlock, PotentialBlock, SllBlock
from lip_plugin.models.layers.blocks.soc import SocBlock


def minmax(x: Tensor) -> Tensor:
    a, b = x.split(x.shape[1] // 2, dim=1)
    larger = a > b
    return torch.cat([torch.where(larger, a, b), torch.where(larger, b, a)], dim=1)


def identity(side: int, like: Tensor) -> Tensor:
    return torch.eye(side, dtype=like.dtype, device=like.device)


def cholesky(x: Tensor) -> Tensor:
    """C^-1 X of one matrix, C C^T = X X^T + ridge."""
    gram = x @ x.T
    ridge = 1e-3 * gram.diagonal().mean()
    return torch.linalg.inv(torch.linalg.cholesky(gram + ridge * identity(len(x), x))) @ x


def by_frequency(x: Tensor, matrices: Tensor) -> Tensor:
    """Matrices (n, n // 2 + 1, C, C) times the Fourier coefficients of a map (B, C, n, n)."""
    if x.shape[2:] == (1, 1):
        return torch.einsum("klij,bjkl->bikl", matrices, x)
    return torch.fft.irfft2(torch.einsum("klij,bjkl->bikl", matrices, torch.fft.rfft2(x)), s=x.shape[2:])


def block_reflector(v: Tensor) -> Tensor:
    """I - 2 V (V^H V + ridge)^-1 V^H, in double precision, which a ridge of 1e-7 needs."""
    gram = v.mH @ v
    ridge = 1e-7 * gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None]
    inverse = torch.linalg.inv(gram + ridge * identity(v.shape[-1], v))
    return identity(v.shape[-2], v) - 2 * v @ inverse @ v.mH


def gram_iteration(matrices: Tensor) -> Tensor:
    """||A|| <= ||(A^H A)^32||_F^(1 / 64), the largest of a batch, by automatic differentiation."""
    logarithm = torch.zeros(len(matrices), dtype=matrices.real.dtype, device=matrices.device)
    gram = matrices.mH @ matrices
    for _ in range(5):
        size = torch.linalg.matrix_norm(gram)
        gram = gram / size[:, None, None]
        gram = gram @ gram
        logarithm = 2 * (logarithm + size.log())
    return ((logarithm + torch.linalg.matrix_norm(gram).log()) / 64).exp().max()


def spectrum(weight: Tensor, side: int) -> Tensor:
    """(side, side // 2 + 1, C, C): the matrices of a correlation around the kernel's middle; real for a side of 1."""
    if side == 1:
        return weight.permute(2, 3, 0, 1)
    middle = weight.shape[-1] // 2
    placed = F.pad(weight, (0, side - weight.shape[-1], 0, side - weight.shape[-1])).roll((-middle, -middle), (2, 3))
    return torch.fft.rfft2(placed).conj().permute(2, 3, 0, 1)


def gloro(block: Block, x: Tensor) -> Tensor:
    assert isinstance(block, GloroBlock)
    return minmax(F.conv2d(x, block.weight, block.bias, padding=block.kernel // 2))


def aol(block: Block, x: Tensor) -> Tensor:
    """K diag(t)^(-1/2), t row sums of |K^T K|."""
    assert isinstance(block, AolBlock)
    columns = block.weight.transpose(0, 1)
    t = F.conv2d(columns, columns, padding=block.kernel - 1).abs().sum((1, 2, 3))
    return minmax(F.conv2d(x, block.weight / t.sqrt()[:, None, None], block.bias, padding=block.kernel // 2))


def _potential(block: PotentialBlock, x: Tensor, scale: Tensor) -> Tensor:
    hidden = F.conv2d(x, block.weight, block.bias, padding=block.kernel // 2).relu()
    return x - F.conv_transpose2d(scale * hidden, block.weight, padding=block.kernel // 2)


def sll(block: Block, x: Tensor) -> Tensor:
    """x - 2 W^T T^-1 relu(W x + b), T_i = sum |W W^T|_ij q_j / q_i."""
    assert isinstance(block, SllBlock)
    q = block.log_q.exp()
    overlaps = F.conv2d(block.weight, block.weight, padding=block.kernel - 1).abs().sum((2, 3))
    t = (overlaps * q / q[:, None]).sum(1)
    return _potential(block, x, 2 / t[:, None, None])


def cpl(block: Block, x: Tensor) -> Tensor:
    """x - 2 / ||W||^2 W^T relu(W x + b)."""
    assert isinstance(block, CplBlock)
    norm = gram_iteration(spectrum(block.weight, block.size + block.kernel - 1).flatten(0, 1))
    return _potential(block, x, 2 / norm**2)


def _activated(block: CircularBlock, y: Tensor) -> Tensor:
    return minmax(y + block.bias[:, None, None])


def cayley(block: Block, x: Tensor) -> Tensor:
    """(I + S)^-1 (I - S) at every frequency."""
    assert isinstance(block, CayleyBlock)
    a = spectrum(block.gain * block.weight / block.weight.norm(), block.size)
    s, eye = a - a.mH, identity(block.channels, a)
    return _activated(block, by_frequency(x, torch.linalg.inv(eye + s) @ (eye - s)))


def lot(block: Block, x: Tensor) -> Tensor:
    """(V V^H)^(-1/2) V at every frequency, the root by Newton's coupled iteration."""
    assert isinstance(block, LotBlock)
    v = spectrum(block.weight, block.size)
    gram = v @ v.mH
    size = torch.linalg.matrix_norm(gram)[..., None, None]
    eye = identity(block.channels, v)
    y, z = gram / size, eye.expand_as(gram)
    for _ in range(10):
        step = (3 * eye - z @ y) / 2
        y, z = y @ step, step @ z
    return _activated(block, by_frequency(x, z / size.sqrt() @ v))


def soc(block: Block, x: Tensor) -> Tensor:
    """exp(S) x = x + S x + S^2 x / 2 + ..., one circular convolution per term."""
    assert isinstance(block, SocBlock)
    skew = block.weight - block.weight.transpose(0, 1).flip(2, 3)
    skew = skew / gram_iteration(spectrum(skew, block.size).flatten(0, 1)).clamp_min(1.0)
    around = block.kernel // 2
    term = total = x
    for degree in range(1, 7):
        padded = F.pad(term, (around,) * 4, mode="circular") if around else term
        term = F.conv2d(padded, skew)
        total = total + term / math.factorial(degree)
    return _activated(block, total)


def bjorck(x: Tensor) -> Tensor:
    """The nearest matrix with orthonormal rows, or columns if fewer."""
    gram = x.T @ x if len(x) > x.shape[1] else x @ x.T
    y = x / gram.abs().sum(1).max().sqrt()
    for _ in range(15):
        y = 1.5 * y - 0.5 * y @ (y.T @ y)
    return y


def aoc(block: Block, x: Tensor) -> Tensor:
    """P x(p) + (I - P) x(p + 1) along one axis and the other in turn, then a matrix."""
    assert isinstance(block, AocBlock)
    conv = block.conv
    for index, basis in reversed([*enumerate(conv.bases)]):
        q = bjorck(basis)
        projection = (q @ q.T)[:, :, None, None]
        following = x.roll(-1, 3 - index % 2)
        x = F.conv2d(x, projection) + following - F.conv2d(following, projection)
    x = x.roll((conv.kernel // 2, conv.kernel // 2), (2, 3))
    return minmax(F.conv2d(x, bjorck(conv.weight)[:, :, None, None], conv.bias))


PLAIN_BLOCKS: dict[type[Block], Callable[[Block, Tensor], Tensor]] = {
    AolBlock: aol,
    SllBlock: sll,
    CplBlock: cpl,
    CayleyBlock: cayley,
    SocBlock: soc,
    LotBlock: lot,
    AocBlock: aoc,
    GloroBlock: gloro,
}
