"""Radii, proved; and what is wrong with radii that are claimed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from .arithmetic import UP, Array, U, frobenius
from .chain import follow
from .kinds.dense import Head
from .layer import Layer
from .together import Scaled

PROOF_SLACK = 1e-6  # relative: how far a figure of the library may lie beyond the proved one, rounding terms of both
ABSOLUTE_SLACK = 1e-7  # the same for radii near zero


def prove_layers(layers: list[Layer]) -> Iterator[tuple[float, str]]:
    """Bound and method of every operator before the head."""
    for layer in layers[:-1]:
        yield layer.bound


def certify(
    layers: list[Layer], bounds: list[float], total: float, x: Array, scaled: Scaled | None = None
) -> tuple[Array, Array]:
    """Predictions j, and radii: at most the minimum over i != j of (margin - error) / (Lip(h) ||w_j - w_i||).

    ``scaled``: another Lip(h), and rows that hold the scales before them; the better pair counts.
    """
    last = layers[-1]
    assert isinstance(last, Head)
    v, error = follow(layers[:-1], bounds, x)
    head, (logits, own) = last.tensors["weight"], last.entries(v)
    if not (np.isfinite(logits).all() and np.isfinite(own).all() and np.isfinite(error).all()):
        raise ValueError("activations overflow")
    best, radii = logits.argmax(axis=1), np.full(len(x), sys.float_info.max)
    for image, i in np.argwhere(best[:, None] != np.arange(logits.shape[1])):
        j = best[image]
        distance = frobenius(head[j] - head[i]) * (1 + 2 * U) if (head[j] != head[i]).any() else 0.0
        gap = float(logits[image, j] - logits[image, i])
        gap = gap - UP * (distance * error[image] + own[image, j] + own[image, i] + 2 * U * abs(gap))
        rise = math.nextafter(UP * total * distance, math.inf) if distance else 0.0
        if rise and scaled is not None:
            rise = min(rise, scaled.climb(j, i))
        radius = gap / UP / rise if rise else (math.inf if gap > 0 else 0.0)
        radii[image] = min(radii[image], max(0.0, radius))
    return best, radii


def point_problems(row: dict[str, str], label: int, best: int, radius: float, tolerance: float) -> Iterator[str]:
    """What is wrong with one row, given the checker's prediction and its proved radius."""
    claimed, prediction = float(row["radius"]), int(row["prediction"])
    if int(row["label"]) != label:
        yield f"label {row['label']}, the data says {label}"
    if prediction != best and (claimed or radius):
        yield f"prediction {prediction}, the checker finds {best}"
    if not claimed <= radius * (1 + PROOF_SLACK) + ABSOLUTE_SLACK:
        yield f"radius {claimed!r} exceeds the proved {radius!r}"
    elif not claimed >= radius * (1 - tolerance) - ABSOLUTE_SLACK:
        yield f"radius {claimed!r} is more than {tolerance:.2%} below the proved {radius!r}"
    for column in row:
        if row[column] == "certified" and not (claimed > Fraction(column.partition("@")[2]) and prediction == label):
            yield f"{column} is certified, with radius {claimed!r}, label {label}, prediction {prediction}"
