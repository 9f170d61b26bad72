"""Convolutions that a card holds by frequency: as W (O, I), or as U (C, r) of I - U U^H."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import UP, Array, Bound, U, gamma, lengths
from ..layer import Layer
from ..norms import gram_matrix, proved_norm


def fourier(n: int) -> Array:
    """The unitary transform of n numbers, a symmetric matrix.

    An angle is within 3 u * 2 pi, cos and sin within 8 u, and there is a quotient: entries within 32 u / sqrt(n).
    """
    angle = np.arange(n) * (2 * math.pi / n)
    return (np.cos(angle) - 1j * np.sin(angle))[np.outer(np.arange(n), np.arange(n)) % n] / math.sqrt(n)


def read_matrices(layer: Layer, name: str) -> Array:
    """(height, width // 2 + 1, m, n), complex; stored with real parts above imaginary parts."""
    real, imaginary = np.split(layer.tensors[name], 2, axis=2)
    return real + 1j * imaginary


def check_matrices(layer: Layer, name: str) -> None:
    tensor = layer.tensors[name]
    if tensor.ndim != 4 or 0 in tensor.shape or tensor.shape[2] % 2:
        raise ValueError(f"card.json: {layer.kind} with {name} {tensor.shape}")


def all_frequencies(half: Array, width: int) -> Array:
    """Those that are not stored are the conjugates of the opposite ones."""
    other = half[-np.arange(len(half))][:, width - np.arange(half.shape[1], width)].conj()
    return np.concatenate([half, other], axis=1)


def transforms_error(height: int, width: int) -> float:
    """Of one transform of a map, relative: off by 32 u sqrt(n) at most along an axis, || |F| || = sqrt(n)."""
    return sum((32 * U + 2 * gamma(2 * side + 4)) * math.sqrt(side) for side in (height, width))


class FrequencyConv(Layer, kind="frequency_conv"):
    """x - U U^H x at every frequency of the zero-padded map, then cropped. factor: U."""

    needs = ("factor",)

    def check(self) -> None:
        check_matrices(self, "factor")
        padding, crop = self.integers("padding", 4, 0), self.integers("crop", 4, 0)
        for axis, side in enumerate(self.shape[1:]):
            ends = slice(2 * axis, 2 * axis + 2)
            if sum(crop[ends]) >= side + sum(padding[ends]):  # a slice would count from the other end
                raise ValueError(f"card.json: frequency_conv crops {crop} and leaves nothing of {self.shape}")

    def norm(self) -> Bound:
        """I - U U^H is Hermitian, with eigenvalues from 1 - ||U||^2 to 1; transform, padding, cropping have norm 1."""
        norm = proved_norm(gram_matrix(u) for row in read_matrices(self, "factor") for u in row)
        return max(1.0, UP * norm**2 - 1), "factors"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """Over all frequencies. A product with U is off by its Frobenius norm times the rounding of a sum."""
        (top, bottom, left, right), cut = self.integers("padding", 4, 0), self.integers("crop", 4, 0)
        v = np.pad(v, ((0, 0), (0, 0), (top, bottom), (left, right)))
        (_, c, n, m), (rows, columns), half = v.shape, map(fourier, v.shape[2:]), read_matrices(self, "factor")
        if half.shape[:3] != (n, m // 2 + 1, c):
            raise ValueError(f"card.json: frequency_conv with factors {half.shape} on {v.shape[1:]}")
        u = all_frequencies(half, m)
        z = (rows @ v @ columns).transpose(2, 3, 1, 0)
        z = (z - u @ (u.conj().transpose(0, 1, 3, 2) @ z)).transpose(3, 2, 0, 1)
        y = (rows.conj() @ z @ columns.conj()).real[:, :, cut[0] : n - cut[1], cut[2] : m - cut[3]]
        products = gamma(2 * sum(u.shape[2:]) + 8)
        size = float(lengths(u.reshape(n * m, -1)).max())
        return y, UP * (2.1 * transforms_error(n, m) + 5 * products) * (1 + size**2) * lengths(v)


class FrequencyMatrix(Layer, kind="frequency_matrix"):
    """W x at every frequency of the map. matrix: W."""

    needs = ("matrix",)

    def check(self) -> None:
        check_matrices(self, "matrix")

    def norm(self) -> Bound:
        """The transform is unitary, and taking real parts has norm 1."""
        return proved_norm(gram_matrix(w) for row in read_matrices(self, "matrix") for w in row), "matrices"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """As above, with one product."""
        (_, c, n, m), (rows, columns), half = v.shape, map(fourier, v.shape[2:]), read_matrices(self, "matrix")
        if half.shape[:2] != (n, m // 2 + 1) or half.shape[3] != c:
            raise ValueError(f"card.json: frequency_matrix with matrices {half.shape} on {v.shape[1:]}")
        w = all_frequencies(half, m)
        z = (w @ (rows @ v @ columns).transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
        y = (rows.conj() @ z @ columns.conj()).real
        size = float(lengths(w.reshape(n * m, -1)).max())
        return y, UP * (2.1 * transforms_error(n, m) + 2 * gamma(2 * c + 8)) * size * lengths(v)
