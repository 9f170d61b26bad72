"""The verified spectral norm against singular values, closed forms and exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lip_plugin.bounds import spectral_norm_upper_bound, verified
from lip_plugin.errors import ConfigError, UnsupportedLayerError

SVD_ROUNDING = 1e-12


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact_norm(matrix: Tensor) -> float:
    return float(torch.linalg.svdvals(matrix)[..., 0].max())


SHAPES = [(2, 2), (1, 5), (5, 1), (7, 40), (40, 7), (3, 6, 6), (2, 3, 5, 8), (60, 30, 30), (300, 310)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_random_matrices(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = noise(*shape, dtype=dtype)
    exact = exact_norm(matrix)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(matrix) <= exact * (1 + 1e-7)


def test_against_rational_arithmetic() -> None:
    """[[a, b], [c, d]]: sigma^2 is the larger root of x^2 - t x + e; at an upper bound the polynomial is >= 0."""
    for seed in range(200):
        matrix = noise(2, 2, seed=seed)
        if seed % 3 == 0:
            matrix[1] = matrix[0] * (1 + 1e-15 * seed)  # nearly rank one
        if seed % 3 == 1:
            matrix = torch.linalg.qr(matrix)[0]  # both singular values near 1
        a, b, c, d = (Fraction(v) for v in matrix.flatten().tolist())
        trace, determinant = a * a + b * b + c * c + d * d, (a * d - b * c) ** 2
        square = Fraction(spectral_norm_upper_bound(matrix)) ** 2
        assert 2 * square >= trace and square * square - trace * square + determinant >= 0


@pytest.mark.parametrize("side", [2, 64, 700])
def test_orthogonal_matrices_are_tight(side: int) -> None:
    q = torch.linalg.qr(noise(side, side))[0]
    bound = spectral_norm_upper_bound(q)
    assert exact_norm(q) * (1 - SVD_ROUNDING) <= bound <= 1 + 1e-8


def test_exact_permutation_of_side_2048() -> None:
    bound = spectral_norm_upper_bound(torch.eye(2048).roll(3, dims=0))
    assert 1.0 <= bound <= 1 + 1e-6


def test_rank_one_matrix_has_its_closed_form() -> None:
    left, right = noise(50, 1, seed=1), noise(1, 80, seed=2)
    exact = float(torch.linalg.vector_norm(left) * torch.linalg.vector_norm(right))
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(left @ right) <= exact * (1 + 1e-8)


@pytest.mark.parametrize("scale", [1e-150, 1e-300, 1e150, 1e300, 2.0**-1000])
def test_scaled_matrices(scale: float) -> None:
    matrix = noise(20, 30)
    exact = exact_norm(matrix)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(matrix * scale) / scale <= exact * (1 + 1e-7)


def test_subnormal_and_mixed_scales() -> None:
    assert Fraction(spectral_norm_upper_bound(torch.full((2, 3), 5e-324, dtype=torch.float64))) ** 2 >= 6 * (
        Fraction(5e-324) ** 2
    )
    batch = torch.stack([noise(6, 6) * 1e-200, noise(6, 6, seed=1)])
    assert spectral_norm_upper_bound(batch) == spectral_norm_upper_bound(batch.flip(0))
    assert spectral_norm_upper_bound(batch) >= exact_norm(batch[1]) * (1 - SVD_ROUNDING)
    assert spectral_norm_upper_bound(torch.full((2, 2), 1.7e308, dtype=torch.float64)) == math.inf


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 2, 2)])
def test_empty_and_zero_matrices(shape: tuple[int, ...]) -> None:
    assert spectral_norm_upper_bound(torch.zeros(*shape)) == 0.0
    assert spectral_norm_upper_bound(torch.zeros(4, 5)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
def test_low_precision_weights_stand_for_their_exact_values(dtype: torch.dtype) -> None:
    matrix = noise(12, 9).to(dtype)
    wide = matrix.to(torch.complex128 if dtype.is_complex else torch.float64)
    exact = exact_norm(wide)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(matrix) <= exact * (1 + 1e-7)


def test_batches_longer_than_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = noise(40, 8, 9)
    batch[33] *= 3
    whole = spectral_norm_upper_bound(batch)
    monkeypatch.setattr(verified, "_CHUNK_ENTRIES", 5 * 64)
    exact = exact_norm(batch)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(batch) <= exact * (1 + 1e-7)
    assert whole == pytest.approx(exact, rel=1e-7)


def test_ranked_batch_without_all_eigenvalues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanczos ranks, a few eigenvalue problems follow; the proof still covers every matrix of the batch."""
    monkeypatch.setattr(verified, "_EIGEN_ALL", 0)
    batch = noise(50, 24, 24, dtype=torch.complex128)
    exact = exact_norm(batch)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(batch) <= exact * (1 + 1e-6)
    monkeypatch.setattr(verified, "_EIGEN_SIDE", 0)
    assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(batch) <= exact * (1 + 1e-3)


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.5, 0.999, 1 - 1e-10])
def test_a_bad_estimate_costs_time_never_soundness(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """An estimator that always answers too low must not lower the bound. `expected` here is the exact norm."""
    original = verified._shift_estimate  # pyright: ignore[reportPrivateUsage]

    def too_low(gram: Tensor) -> float:
        return original(gram) * factor

    monkeypatch.setattr(verified, "_shift_estimate", too_low)
    for matrix in (noise(20, 30), torch.linalg.qr(noise(40, 40))[0], noise(8, 5, 6, dtype=torch.complex128)):
        exact = exact_norm(matrix)
        frobenius = float(torch.linalg.matrix_norm(matrix).max())
        assert exact * (1 - SVD_ROUNDING) <= spectral_norm_upper_bound(matrix) <= frobenius * (1 + SVD_ROUNDING)


def test_cholesky_decides_and_not_the_estimate() -> None:
    """The proof refuses a shift just below the largest eigenvalue and accepts one just above."""
    matrix = noise(30, 60)
    gram = (matrix @ matrix.mT).unsqueeze(0)
    top = exact_norm(matrix) ** 2
    passed, excess = verified._prove(gram, top * (1 - 1e-9))  # pyright: ignore[reportPrivateUsage]
    assert not bool(passed[0])
    passed, excess = verified._prove(gram, top * (1 + 1e-9))  # pyright: ignore[reportPrivateUsage]
    assert bool(passed[0]) and 0 < float(excess[0]) < 1e-9 * top


def test_entry_error_is_added_and_at_least_is_a_floor() -> None:
    matrix = noise(6, 7)
    exact = exact_norm(matrix)
    assert spectral_norm_upper_bound(matrix, entry_error=0.25) >= exact * (1 - SVD_ROUNDING) + 0.25
    for floor in (exact * 0.5, exact * 0.9999999, exact * 1.5, exact * 1e200):
        bound = spectral_norm_upper_bound(matrix, at_least=floor)
        expected = max(exact, floor)
        assert expected * (1 - SVD_ROUNDING) <= bound <= expected * (1 + 1e-7)
        assert bound >= floor


def test_an_entry_error_covers_a_perturbed_matrix() -> None:
    matrix, change = noise(9, 9), noise(9, 9, seed=5) * 1e-3
    bound = spectral_norm_upper_bound(matrix, entry_error=exact_norm(change) * (1 + SVD_ROUNDING))
    assert bound >= exact_norm(matrix + change)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refusals(bad: float) -> None:
    with pytest.raises(UnsupportedLayerError, match="NaN or infinite"):
        spectral_norm_upper_bound(torch.tensor([[1.0, bad]]))
    with pytest.raises(UnsupportedLayerError, match="NaN or infinite"):
        spectral_norm_upper_bound(torch.tensor([[1.0, complex(0.0, bad)]]))
    with pytest.raises(UnsupportedLayerError, match="needs a matrix"):
        spectral_norm_upper_bound(torch.ones(3))
    with pytest.raises(ConfigError, match="must be >= 0"):
        spectral_norm_upper_bound(torch.ones(2, 2), entry_error=-abs(bad))


def test_pure_and_deterministic() -> None:
    matrix = noise(40, 64, 64, dtype=torch.complex128).requires_grad_()
    before = matrix.detach().clone()
    state = torch.get_rng_state()
    first = spectral_norm_upper_bound(matrix)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        second = spectral_norm_upper_bound(matrix)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(matrix.detach(), before)
