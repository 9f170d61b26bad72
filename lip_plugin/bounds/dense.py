"""Proved bounds of dense layers and of the distances between the rows of a classification head."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.rounding import exact_float64, norms_upper_bound, require_ieee_arithmetic
from lip_plugin.bounds.verified import spectral_norm_upper_bound
from lip_plugin.errors import UnsupportedLayerError


def dense_norm_upper_bound(weight: Tensor) -> NormBound:
    """Upper bound of ||W||_2 of a dense weight (O, I).

    Raises:
        UnsupportedLayerError: not a matrix, or non-finite entries.
    """
    if weight.ndim != 2:
        raise UnsupportedLayerError(f"a dense weight has shape (O, I), got {tuple(weight.shape)}")
    return NormBound(spectral_norm_upper_bound(weight), "verified Cholesky")


def row_distance_upper_bound(head_weight: Tensor) -> Tensor:
    """Upper bounds (K, K) in float64 of ||w_i - w_j||_2 for the rows of a head (K, D); symmetric, diagonal 0.

    Direct differences, each rounded once, never the Gram trick (which turns near-equal rows into distance 0).
    The bound is 0 only where the rows are identical. Memory: one row against all, O(K D).

    Raises:
        UnsupportedLayerError: not a matrix, non-finite entries, or a distance beyond the largest float.
    """
    if head_weight.ndim != 2:
        raise UnsupportedLayerError(f"a head weight has shape (K, D), got {tuple(head_weight.shape)}")
    require_ieee_arithmetic()
    rows = exact_float64(head_weight, "head weight")
    classes = rows.shape[0]
    distances = torch.zeros(classes, classes, dtype=torch.float64, device="cpu")
    for index in range(classes - 1):
        norms = norms_upper_bound(rows[index + 1 :] - rows[index], extra_roundings=1)
        if not bool(torch.isfinite(norms).all()):
            raise UnsupportedLayerError("head rows are too large for float64 distances: rescale the head")
        distances[index, index + 1 :] = norms
        distances[index + 1 :, index] = norms
    return distances
