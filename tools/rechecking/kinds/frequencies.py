"""Convolutions that a card holds by frequency, as U (C, r) of I - U U^H."""

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


class FrequencyConv(Layer, kind="frequency_conv"):
    """x - U U^H x at every frequency of the zero-padded map, then cropped. factor: real parts above imaginary parts."""

    needs = ("factor",)

    def check(self) -> None:
        factor = self.tensors["factor"]
        if factor.ndim != 4 or 0 in factor.shape or factor.shape[2] % 2:
            raise ValueError(f"card.json: frequency_conv with factor {factor.shape}")
        padding, crop = self.integers("padding", 4, 0), self.integers("crop", 4, 0)
        for axis, side in enumerate(self.shape[1:]):
            ends = slice(2 * axis, 2 * axis + 2)
            if sum(crop[ends]) >= side + sum(padding[ends]):  # a slice would count from the other end
                raise ValueError(f"card.json: frequency_conv crops {crop} and leaves nothing of {self.shape}")

    def stored(self) -> Array:
        """U (height, width // 2 + 1, C, r)"""
        real, imaginary = np.split(self.tensors["factor"], 2, axis=2)
        return real + 1j * imaginary

    def norm(self) -> Bound:
        """I - U U^H is Hermitian, with eigenvalues from 1 - ||U||^2 to 1; transform, padding, cropping have norm 1."""
        norm = proved_norm(gram_matrix(u) for row in self.stored() for u in row)
        return max(1.0, UP * norm**2 - 1), "factors"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """Over all frequencies: at those that are not stored U is the conjugate of the opposite ones.

        A transform F is off by 32 u sqrt(n) at most, || |F| || = sqrt(n); a product with U by its Frobenius norm.
        """
        (top, bottom, left, right), cut = self.integers("padding", 4, 0), self.integers("crop", 4, 0)
        v = np.pad(v, ((0, 0), (0, 0), (top, bottom), (left, right)))
        (_, c, n, m), (rows, columns), half = v.shape, map(fourier, v.shape[2:]), self.stored()
        if half.shape[:3] != (n, m // 2 + 1, c):
            raise ValueError(f"card.json: frequency_conv with factors {half.shape} on {v.shape[1:]}")
        other = half[-np.arange(n)][:, m - np.arange(half.shape[1], m)].conj()
        u = np.concatenate([half, other], axis=1)
        z = (rows @ v @ columns).transpose(2, 3, 1, 0)
        z = (z - u @ (u.conj().transpose(0, 1, 3, 2) @ z)).transpose(3, 2, 0, 1)
        y = (rows.conj() @ z @ columns.conj()).real[:, :, cut[0] : n - cut[1], cut[2] : m - cut[3]]
        transforms = sum((32 * U + 2 * gamma(2 * side + 4)) * math.sqrt(side) for side in (n, m))
        products = gamma(2 * sum(u.shape[2:]) + 8)
        size = float(lengths(u.reshape(n * m, -1)).max())
        return y, UP * (2.1 * transforms + 5 * products) * (1 + size**2) * lengths(v)
