"""The one primitive: a proved upper bound of a matrix's spectral norm through a completed Cholesky factorisation.

Source: S. M. Rump, "Verification of positive definiteness", BIT Numerical Mathematics 46 (2006) 433-452. If the
floating-point Cholesky factorisation of a Hermitian T of side m completes, then
lambda_min(T) >= -gamma(m+1) / (1 - gamma(m+1)) * trace(T). Here T = c^2 I - A A^H, so lambda_max(A A^H) is at most
c^2 plus that slack and the rounding of T. The factorisation and the matrix product are assumed to be the
conventional ones (any order of operations, any blocking, fused or not), as LAPACK and BLAS provide them.

Comment letters: B batch, m rows (the smaller side), n columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import (
    UNDERFLOW,
    U,
    add_up,
    exact_float64,
    frobenius_upper_bounds,
    gamma,
    largest_entry,
    ldexp_up,
    mul_up,
    require_ieee_arithmetic,
    sqrt_up,
    times_power_of_two,
)
from lip_plugin.errors import ConfigError, UnsupportedLayerError

_CHUNK_ENTRIES = 2**22  # entries of one chunk of Gram matrices: 64 MB in complex128
_EIGEN_ALL = 2**28  # B m^3 up to which every matrix of a chunk gets its eigenvalues
_EIGEN_SIDE = 2048  # largest side whose eigenvalues are computed; above, Lanczos alone
_PER_MATRIX = 2**15  # products that take as long as what comes with every matrix, however small
_ATTEMPTS = 20  # the last ones multiply c^2 by far more than any estimate can be wrong


def spectral_norm_upper_bound(matrix: Tensor, *, entry_error: float = 0.0, at_least: float = 0.0) -> float:
    """Upper bound of the largest spectral norm in a batch of matrices, tight to about m (m + n) 1e-16 relative.

    Args:
        matrix: (..., m, n), real or complex, any floating dtype and device.
        entry_error: bound of the spectral norm of (exact matrix - ``matrix``); added to the result.
        at_least: a number that the caller's result will not fall below anyway; saves work, never soundness:
            the result is the larger of it and the bound (``entry_error`` is added after that).

    Returns:
        A float at least as large as every ||exact matrix||_2; 0 for an empty or zero batch; infinity only where
        the norm is near the largest float.

    Raises:
        UnsupportedLayerError: fewer than two dimensions, or NaN or infinite entries.
        ConfigError: a negative or NaN ``entry_error`` or ``at_least``; flushed subnormals.
    """
    require_ieee_arithmetic()
    if not (entry_error >= 0.0 and at_least >= 0.0):
        raise ConfigError(f"entry_error and at_least must be >= 0, got {entry_error} and {at_least}")
    if matrix.ndim < 2:
        raise UnsupportedLayerError(f"a spectral norm needs a matrix, got shape {tuple(matrix.shape)}")
    if matrix.numel() == 0:
        return add_up(at_least, entry_error)
    batch = _as_batch(exact_float64(matrix, "matrix"))
    frobenius = frobenius_upper_bounds(batch)
    ceiling = float(frobenius.max())
    if ceiling <= at_least or batch.shape[1] == 1:  # of a single row the Frobenius norm is the norm
        return add_up(max(ceiling, at_least), entry_error)
    exponent = math.frexp(largest_entry(batch))[1]
    floor = math.ldexp(at_least, -exponent)  # cannot overflow: at_least < ceiling <= sqrt(m n) 2**exponent
    step = max(1, _CHUNK_ENTRIES // batch.shape[1] ** 2)
    # Scaling down rounds entries below 2**-1022 only; UNDERFLOW, here and in the proof, covers them.
    scaled_frobenius = times_power_of_two(frobenius, -exponent)
    for chunk, norms in zip(batch.split(step), scaled_frobenius.split(step), strict=True):
        floor = max(floor, _largest_norm_scaled(times_power_of_two(chunk, -exponent), norms, floor))
    proved = ldexp_up(add_up(floor, UNDERFLOW), exponent)
    return add_up(max(min(proved, ceiling), at_least), entry_error)


def norms_estimate(batch: Tensor) -> Tensor:
    """Estimates (B,) of the spectral norms in (B, m, n) float64 or complex128, from BELOW where these are many.

    They prove nothing, and are NaN where LAPACK does not converge.
    """
    gram = _gram(_as_batch(batch))
    if gram.shape[0] * gram.shape[1] ** 3 > _EIGEN_ALL:
        return _lanczos(gram, steps=48).clamp_min(0.0).sqrt()
    try:
        return torch.linalg.eigvalsh(gram)[:, -1].clamp_min(0.0).sqrt()
    except RuntimeError:
        return torch.full(gram.shape[:1], torch.nan, dtype=torch.float64, device="cpu")


def top_vector_estimate(matrix: Tensor) -> Tensor:
    """About the vector (n,) that (m, n) stretches most: 30 steps of power iteration. It proves nothing."""
    generator = torch.Generator("cpu").manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator, dtype=torch.float64, device="cpu").to(matrix.dtype)
    for _ in range(30):
        vector = matrix.mH @ (matrix @ vector)
        vector = vector / torch.linalg.vector_norm(vector).clamp_min(1e-300)
    return vector


def spectral_norm_work(rows: int, columns: int) -> int:
    """Products of `spectral_norm_upper_bound` for one complex matrix of a batch, roughly."""
    return 6 * rows * columns * min(rows, columns) + _PER_MATRIX


def _as_batch(matrix: Tensor) -> Tensor:
    """(..., m, n) as (B, m, n) with m <= n: the norm of A^H is that of A."""
    batch = matrix.reshape(-1, matrix.shape[-2], matrix.shape[-1])
    return batch if batch.shape[1] <= batch.shape[2] else batch.mH.resolve_conj()


def _largest_norm_scaled(batch: Tensor, frobenius: Tensor, floor: float) -> float:
    """Upper bound of the largest norm in (B, m, n) with entries of at most 1 and Frobenius norms (B,) bounded.

    At least ``floor``, which is the first value that the proof tries.
    """
    gram = _gram(batch)
    gram_error = _gram_error(batch, frobenius)
    shift, proved = floor * floor, 0.0
    pending = torch.arange(batch.shape[0], device="cpu")
    for attempt in range(_ATTEMPTS):
        if shift > 0.0:
            passed, excess = _prove(gram[pending], shift)
            if bool(passed.any()):
                worst = float((excess + gram_error[pending])[passed].max())
                proved = max(proved, add_up(shift, mul_up(worst, 1.001)))  # 0.1 % covers the rounding of the slack
            pending = pending[~passed]
        if pending.numel() == 0:
            return max(floor, sqrt_up(proved))
        shift = max(shift * (1.0 + 1e-9 * 4.0**attempt), _shift_estimate(gram[pending]))
    return max(floor, sqrt_up(proved), add_up(float(frobenius[pending].max()), UNDERFLOW))


def _gram(batch: Tensor) -> Tensor:
    """A A^H (B, m, m) of A (B, m, n), of which only the lower triangle is used; complex ones by real products.

    Each real or imaginary part is one real dot product of 2 n terms, so the complex entry is wrong by at most
    sqrt(2) gamma(2 n) (|A| |A|^H)_ij, which is below gamma(4 n + 16) times it.
    """
    if not batch.is_complex():
        return batch @ batch.mT
    stacked = torch.cat([batch.real, batch.imag], dim=2)
    turned = torch.cat([batch.imag, -batch.real], dim=2)
    return torch.complex(stacked @ stacked.mT, turned @ stacked.mT)


def _gram_error(batch: Tensor, frobenius: Tensor) -> Tensor:
    """Upper bounds (B,) of ||A A^H - its computed lower triangle, mirrored||_2: gamma ||A||_F^2 and underflow.

    The error is at most gamma |A| |A|^H entry by entry, and || |A| |A|^H ||_2 <= ||A||_F^2.
    """
    columns = batch.shape[2]
    relative = gamma(4 * columns + 16 if batch.is_complex() else columns)
    return relative * frobenius * frobenius + float(sum(batch.shape[1:])) ** 4 * UNDERFLOW


def _prove(gram: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """Which of the Gram matrices G (B, m, m) have lambda_max(G) <= shift + excess, and the excess (B,).

    The excess is Rump's slack times the trace of T = shift I - G, plus u trace(T) for the rounding of T's diagonal.
    A complex factorisation sums twice as many real products per part: gamma(4 m + 16) covers its sqrt(2) gamma(2 m).
    """
    side = gram.shape[1]
    shifted = -gram
    diagonal = shift - gram.diagonal(dim1=1, dim2=2).real
    shifted.diagonal(dim1=1, dim2=2).copy_(diagonal)
    factor, info = torch.linalg.cholesky_ex(shifted)
    pivots = factor.diagonal(dim1=1, dim2=2).real
    passed = (info == 0) & (pivots > 0).all(dim=1) & torch.isfinite(pivots).all(dim=1)
    per_step = gamma(4 * side + 16 if gram.is_complex() else side + 1)
    return passed, (per_step / (1.0 - per_step) + U) * diagonal.sum(dim=1)


def _shift_estimate(gram: Tensor) -> float:
    """A number slightly above the largest eigenvalue in (B, m, m), as far as an estimate can tell. Proves nothing."""
    count, side = gram.shape[0], gram.shape[1]
    if count * side**3 <= _EIGEN_ALL:
        return _top_eigenvalue(gram) * (1.0 + 1e-9)
    if side > _EIGEN_SIDE:
        return float(_lanczos(gram, steps=80).max()) * (1.0 + 1e-6)
    if count <= 3:
        return _top_eigenvalue(gram) * (1.0 + 1e-9)
    leaders = _lanczos(gram, steps=16).topk(3).indices
    return _top_eigenvalue(gram[leaders]) * (1.0 + 1e-9)


def _top_eigenvalue(gram: Tensor) -> float:
    """Largest eigenvalue in the batch, computed by LAPACK; the largest trace where that does not converge."""
    try:
        return float(torch.linalg.eigvalsh(gram).max())
    except RuntimeError:  # LinAlgError; whatever it was, only an estimate is lost
        return float(gram.diagonal(dim1=1, dim2=2).real.sum(dim=1).max())


def _lanczos(gram: Tensor, steps: int) -> Tensor:
    """Estimates (B,) of the largest eigenvalues by Lanczos steps with full reorthogonalisation."""
    side = gram.shape[1]
    generator = torch.Generator("cpu").manual_seed(0)
    start = torch.randn(side, 1, generator=generator, dtype=torch.float64, device="cpu").to(gram.dtype)
    vector = (start / torch.linalg.vector_norm(start)).expand(gram.shape[0], side, 1)
    basis = vector[:, :, :0]
    images = basis
    for _ in range(min(steps, side)):
        image = gram @ vector
        basis, images = torch.cat([basis, vector], dim=2), torch.cat([images, image], dim=2)
        rest = image
        for _ in range(2):
            rest = rest - basis @ (basis.mH @ rest)
        vector = rest / torch.linalg.vector_norm(rest, dim=1, keepdim=True).clamp_min(1e-300)
    return torch.linalg.eigvalsh(basis.mH @ images)[:, -1]
