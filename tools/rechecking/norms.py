"""Spectral norms of matrices, proved: a guessed factor is multiplied out, and what is missing is counted."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .arithmetic import TINY, UP, Array, frobenius, gamma

Blocks = dict[tuple[int, int], Array]  # a Hermitian matrix: blocks (i, j) of one size, i >= j, zero where there is none
Gram = tuple[Blocks, float]  # A A^H, and at least the Frobenius norm of its rounding errors


def gram_matrix(a: Array) -> Gram:
    """A A^H, or A^H A if that is smaller."""
    a = a.conj().T if a.shape[0] > a.shape[1] else a
    return {(0, 0): a @ a.conj().T}, 2 * gamma(2 * a.shape[1] + 4) * frobenius(a) ** 2


def proved_norm(grams: Iterable[Gram], square: float = 0.0) -> float:
    """An upper bound of the largest spectral norm among operators A, real or complex.

    With R = c^2 I - A A^H - L L^H, A A^H = c^2 I - L L^H - R <= c^2 + ||R||, because L L^H is positive semidefinite
    whatever L is. c^2, at least ``square``, and L are guesses: where c is too small there is no L, or R is large.
    Sums of k products in any order, complex ones included, err by at most sqrt(2) gamma(2k) times the sum of absolute
    values (Higham, sections 3.1, 3.6): those of A A^H in the Frobenius norm by that times ||A||^2.
    """
    error = 0.0
    for blocks, rounding in grams:
        missing = math.inf
        for attempt in range(12):
            try:
                missing = remainder(blocks, square) + rounding
                break
            except np.linalg.LinAlgError:
                square = max(square, guess(blocks)) * (1 + 1e-8 * 10**attempt) + TINY
        error = max(error, missing if missing < math.inf else math.inf)
    return UP * math.sqrt(UP * (square + error))


def remainder(blocks: Blocks, square: float) -> float:
    """At least ||R|| (Frobenius, blocks off the diagonal twice) for a guess L as banded as A A^H; LinAlgError: none.

    An entry of R sums one of S = c^2 I - A A^H and products: it errs as A A^H does, with ||S|| + ||L||^2 for ||A||^2.
    """
    strips, band, side = 1 + max(blocks)[0], max(i - j for i, j in blocks), len(blocks[0, 0])
    factor, squares = Blocks(), np.zeros(3)
    for j in range(strips):
        for i in range(j, min(j + band + 1, strips)):
            shifted = rest = square * (i == j) * np.eye(side) - blocks.get((i, j), 0.0)
            for k in range(max(0, i - band), j):
                rest = rest - factor[i, k] @ factor[j, k].conj().T
            factor[i, j] = np.linalg.cholesky(rest) if i == j else np.linalg.solve(factor[j, j], rest.conj().T).conj().T
            rest = rest - factor[i, j] @ factor[j, j].conj().T
            squares += [(1 + (i > j)) * frobenius(part) ** 2 for part in (rest, shifted, factor[i, j])]
        factor = {key: block for key, block in factor.items() if key[0] > j}  # what later blocks need
    residual, shift, lower = UP * (1 + gamma(strips * (band + 1))) * squares
    return UP * (math.sqrt(residual) + 2 * gamma(2 * (band + 1) * (side + 4)) * (math.sqrt(shift) + lower))


def guess(blocks: Blocks) -> float:
    """About the largest eigenvalue of A A^H, by the Lanczos recurrence. Proves nothing."""
    before, ritz = np.zeros((1 + max(blocks)[0], len(blocks[0, 0])), blocks[0, 0].dtype), np.zeros((401, 401))
    v, values = before + np.random.default_rng(0).standard_normal(before.shape), np.zeros(1)
    for step in range(400):
        v, image = v / max(np.linalg.norm(v), TINY), -ritz[step, step - 1] * before
        for (i, j), block in blocks.items():
            image[i] += block @ v[j]
            image[j] += block.conj().T @ v[i] if i > j else 0.0
        ritz[step, step] = np.vdot(v, image).real
        before, v = v, image - ritz[step, step] * v
        ritz[step + 1, step] = np.linalg.norm(v)
        if step % 20 == 19:
            values, vectors = np.linalg.eigh(ritz[: step + 1, : step + 1])
            if ritz[step + 1, step] * abs(vectors[-1, -1]) <= 2e-6 * values[-1]:
                break
    return float(values[-1])
