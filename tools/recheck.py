"""Independent checker: re-proves a model directory's Lipschitz bound and the radii of its first images.

    python tools/recheck.py MODEL_DIR [--data FILE.npz] [--points points.csv] [--report report.json]

NumPy and the standard library only; written from the documents (docs/soundness.md, docs/operators.md), not from the
library. Exit 0: everything agrees; 1: something disagrees, named with its numbers; 2: bad input, in one line.

Trusted: IEEE double precision; matrix products that are sums of products in some order; sin and cos within 4, tanh, exp
and expm1 within 8 units in the last place. LAPACK is not: a Cholesky factor is a guess, checked by multiplying it out.
Bounds err upwards, radii downwards. The terms of an error bound are sums and products of non-negative numbers, so UP
(2^-40 relative) covers the rounding of the few hundred operations that evaluate one.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

U = 2.0**-53
UP = 1 + 2.0**-40
TINY = 2.0**-500  # per number: covers underflow, also that of a square below a square root
EXPLICIT_SIDE = 1024  # an operator with at most so many rows or columns is written out; larger ones get a grid
PROOF_SLACK = 1e-6  # relative: how far a figure of the library may lie beyond the proved one, rounding terms of both
ABSOLUTE_SLACK = 1e-7  # the same for radii near zero
MAX_HEADER, MAX_INTEGER = 1 << 24, 4096
DTYPES = {"float32": "<f4", "float64": "<f8", "F32": "<f4", "F64": "<f8"}
TENSORS = {"offset": ["offset"], "scale": ["scale"], "conv": ["weight"], "dense": ["weight"], "head": ["weight"]}
REARRANGING = ["flatten", "minmax", "pixel_shuffle", "pixel_unshuffle"]
KINDS = [*TENSORS, *REARRANGING, "activation", "avg_pool"]


class Disagreement(Exception):
    """The check failed: exit 1. Any other exception is bad input: exit 2."""


class Layer(NamedTuple):
    kind: str
    settings: dict[str, Any]
    tensors: dict[str, Array]  # float64: every stored number exactly

    def integers(self, name: str, count: int = 2, least: int = 1) -> list[int]:
        value = self.settings.get(name)
        return integers(value if isinstance(value, list) else [value], f"{self.kind}: {name}", count, least)


def integers(value: Any, what: str, count: int | None, least: int, most: int = MAX_INTEGER) -> list[int]:
    if not isinstance(value, list) or count not in (None, len(value)) or any(type(v) is not int for v in value):
        raise ValueError(f"{what} is {value!r}, expected a list of {count or 'any number of'} integers")
    if any(not least <= v <= most for v in value):
        raise ValueError(f"{what} is {value!r}, outside [{least}, {most}]")
    return value


def parse_json(content: bytes, what: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError(f"{what} repeats a key")
        return dict(pairs)

    value = json.loads(content.decode(), object_pairs_hook=unique)
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def read_safetensors(content: bytes) -> dict[str, Array]:
    """8 bytes of header length, a JSON header, then the data: contiguous, no overlap, no gap, nothing left over."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER, len(content) - 8):
        raise ValueError(f"weights: header of {size} bytes in a file of {len(content)}")
    header, data = parse_json(content[8 : 8 + size], "weights header"), content[8 + size :]
    header.pop("__metadata__", None)
    spans = {name: integers(entry["data_offsets"], name, 2, 0, len(data)) for name, entry in header.items()}
    tensors: dict[str, Array] = {}
    end = 0
    for name, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        shape, dtype = integers(header[name]["shape"], name, None, 0, len(data)), DTYPES.get(header[name]["dtype"])
        if dtype is None or start != end or stop - start != math.prod(shape) * int(dtype[-1]):
            raise ValueError(f"weights: {name} {header[name]} does not follow byte {end} of {len(data)}")
        tensors[name], end = np.frombuffer(data[start:stop], dtype).reshape(shape), stop
    if end != len(data):
        raise ValueError(f"weights: {len(data) - end} bytes belong to no tensor")
    return tensors


def read_model(directory: Path) -> tuple[dict[str, Any], list[Layer]]:
    """Structure first (broken: exit 2), then sha256 (another one: exit 1), then whether the card fits the weights."""
    card = parse_json((directory / "card.json").read_bytes(), "card.json")
    content = (directory / "model.safetensors").read_bytes()
    stored, sha256 = read_safetensors(content), hashlib.sha256(content).hexdigest()
    if (card["schema"], card["threat_model"], card["dtype"] in DTYPES) != ("lip-card/1", "L2", True):
        raise ValueError(f"card.json: {card['schema']!r}, {card['threat_model']!r}, {card['dtype']!r}")
    integers(card["input_shape"], "card.json: input_shape", 3, 1)
    if sha256 != card["sha256"]:
        raise Disagreement(f"the weights have sha256 {sha256}, the card says {card['sha256']}")
    used = [name for record in card["network"] for name in record["tensors"].values()]
    if sorted(used) != sorted(stored) or any(v.dtype != DTYPES[card["dtype"]] for v in stored.values()):
        raise ValueError("card.json: tensors are not used exactly once each, or not of the card's dtype")
    if any(not np.isfinite(value).all() for value in stored.values()):
        raise ValueError("weights: a number is not finite")
    layers = [read_layer(record, stored) for record in card["network"]]
    if [layer.kind == "head" for layer in layers] != [False] * (len(layers) - 1) + [True]:
        raise ValueError("card.json: the last operator, and only that one, must be a head")
    sizes = {"params": sum(v.size for v in stored.values()), "num_classes": len(layers[-1].tensors["weight"])}
    if any(card[key] != value for key, value in sizes.items()):
        raise Disagreement(f"the weights have {sizes}, the card says {card['params']} and {card['num_classes']}")
    return card, layers


def read_layer(record: dict[str, Any], stored: dict[str, Array]) -> Layer:
    kind, names = record["kind"], set(record["tensors"])
    if kind not in KINDS:
        raise ValueError(f"operator kind {kind!r} is not supported by this checker")
    if names - {"bias"} != set(TENSORS.get(kind, [])) or (names == {"weight", "bias"}) != ("bias" in names):
        raise ValueError(f"card.json: {kind} with tensors {sorted(names)}")
    tensors = {key: stored[name].astype(np.float64) for key, name in record["tensors"].items()}
    if "weight" in tensors:
        weight, bias = tensors["weight"], tensors.setdefault("bias", np.zeros(len(tensors["weight"])))
        if weight.ndim != (4 if kind == "conv" else 2) or not weight.size or bias.shape != weight.shape[:1]:
            raise ValueError(f"card.json: {kind} with weight {weight.shape} and bias {bias.shape}")
    return Layer(kind, record["settings"], tensors)


def read_images(path: Path, shape: Shape, dtype: str, count: int) -> tuple[Array, Array]:
    """The first images as float64, and their labels. Pixels are uint8/255 or floats, rounded to the card's dtype."""
    with np.load(path, allow_pickle=False) as archive:
        x, y = archive["x"][:count], archive["y"][:count]
    if x.shape[1:] != shape or not len(x) or y.shape != x.shape[:1] or (x.dtype != np.uint8 and x.dtype.kind != "f"):
        raise ValueError(f"{path.name}: x is {x.dtype} {x.shape}, y {y.shape}; the model takes {shape}")
    x = x.astype(dtype) / np.array(255 if x.dtype == np.uint8 else 1, dtype)
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"{path.name}: pixels outside [0,1]")
    return x.astype(np.float64), y


def gamma(count: int) -> float:
    """At least the relative error of ``count`` roundings (Higham, Accuracy and Stability, 2nd ed., Lemma 3.1)."""
    return UP * count * U / (1 - count * U)


def lengths(v: Array) -> Array:
    """At least the Euclidean norm of every v[i]."""
    flat = v.reshape(len(v), -1)
    return UP * (1 + gamma(flat.shape[1] + 4)) * np.linalg.norm(flat, axis=1) + math.sqrt(flat.shape[1]) * TINY


def frobenius(a: Array) -> float:
    """At least the Frobenius norm, hence at least the spectral norm."""
    return float(lengths(a[None])[0])


def proved_norm(blocks: Iterable[Array]) -> float:
    """An upper bound of the largest spectral norm among the blocks, real or complex.

    If S = c^2 I - A A^H - (rounding) and R = S - L L^H, then A A^H = c^2 I - L L^H - R - (rounding) <= c^2 + ||R|| +
    ||rounding||, because L L^H is positive semidefinite whatever L is. Products of length k in any order, complex ones
    included, err by at most sqrt(2) gamma(2k) ||factor|| ||factor|| in the Frobenius norm (Higham, sections 3.1, 3.6).
    """
    square, error = 0.0, 0.0
    for a in blocks:
        if not np.abs(a).max() < 1e150:
            raise ValueError("weights: too large for a proof")
        a = a.conj().T if a.shape[0] > a.shape[1] else a
        lower = np.tril(a @ a.conj().T)
        np.fill_diagonal(lower, lower.diagonal().real)
        gram = lower + np.tril(lower, -1).conj().T  # Hermitian exactly; every entry has the error of the product
        factor, square = factorise(gram, square)
        shifted = square * np.eye(len(gram)) - gram
        residual = shifted - factor @ factor.conj().T
        rounding = gamma(2 * a.shape[1] + 4) * frobenius(a) ** 2 + gamma(2 * len(a) + 4) * frobenius(factor) ** 2
        rounding += U * float(np.abs(shifted).max()) + U * frobenius(residual)
        missing = frobenius(residual) + 2 * rounding
        if not math.isfinite(missing):
            raise ValueError("weights: no proof found")
        error = max(error, missing)
    return UP * math.sqrt(UP * (square + error))


def factorise(gram: Array, square: float) -> tuple[Array, float]:
    """A guess L with L L^H close to c^2 I - gram, and c^2, at least ``square``. Proves nothing."""
    for attempt in range(12):
        try:
            return np.linalg.cholesky(square * np.eye(len(gram)) - gram), square
        except np.linalg.LinAlgError:
            square = max(square, float(np.linalg.eigvalsh(gram)[-1]) * (1 + 1e-9 * 10**attempt) + TINY)
    raise ValueError("weights: no proof found")


class Axis(NamedTuple):
    """One axis of a convolution on blocks of ``stride`` pixels: output o takes pixel phase[t] of block o + shift[t].

    A circulant on ``grid`` blocks contains it: so many that no wrap-around takes an output o < m to a pixel.
    """

    shift: Array
    phase: Array
    stride: int
    grid: int

    @classmethod
    def of(cls, taps: int, n: int, m: int, stride: int, dilation: int, before: int) -> Axis:
        shift, phase = np.divmod(np.arange(taps) * dilation - before, stride)
        blocks = -(-n // stride)
        return cls(shift, phase, stride, max(blocks - int(shift.min()), m + int(shift.max()), m, blocks))

    def turns(self) -> Array:
        """Row i: exp(2 pi i shift / grid). Equal shifts turn the symbol's phase only: one frequency will do."""
        rows = self.grid if len(set(self.shift % self.grid)) > 1 else 1
        angle = np.arange(self.grid) * (2 * math.pi / self.grid)  # within 3 u * 2 pi, cos and sin within 8 u
        return (np.cos(angle) + 1j * np.sin(angle))[np.outer(np.arange(rows), self.shift) % self.grid]


def symbols(weight: Array, high: Axis, wide: Axis) -> Iterator[Array]:
    """The circulant's blocks: per frequency the sum over taps of weight times turn, the phases side by side.

    Opposite frequencies are conjugate, so half will do. Shuffled: the largest so far then changes rarely.
    """
    flat = weight.reshape(-1, high.shift.size * wide.shift.size).astype(np.complex128)
    column = np.add.outer(high.phase * wide.stride, wide.phase).ravel()
    rows, columns = high.turns(), wide.turns()
    for code in np.random.default_rng(0).permutation(len(rows) * len(columns)):
        i, j = divmod(int(code), len(columns))
        if (i, j) <= (-i % len(rows), -j % len(columns)):
            table = np.zeros((column.size, high.stride * wide.stride), np.complex128)
            table[np.arange(column.size), column] = np.outer(rows[i], columns[j]).ravel()
            yield (flat @ table).reshape(len(weight), -1)


def grid_norm(weight: Array, high: Axis, wide: Axis) -> float:
    """Norm of the circulant. A turn is within 32 u, a product of two within 80 u, then sums."""
    error = (80 * U + 2 * gamma(2 * weight[0, 0].size + 4)) * frobenius(2 * np.abs(weight).sum(axis=(2, 3)))
    return UP * (proved_norm(symbols(weight, high, wide)) + error)


def convolve(layer: Layer, v: Array, weight: Array) -> Array:
    """The convolution itself (a cross-correlation), tap by tap: each output sums fan-in products."""
    (sh, sw), (dh, dw), (kh, kw) = layer.integers("stride"), layer.integers("dilation"), weight.shape[2:]
    (top, bottom, left, right), (groups,) = layer.integers("padding", 4, 0), layer.integers("groups", 1)
    if layer.settings["padding_mode"] != "zeros":
        raise ValueError(f"conv with {layer.settings['padding_mode']} padding is not supported by this checker")
    v = np.pad(v, ((0, 0), (0, 0), (top, bottom), (left, right)))
    mh, mw = (v.shape[2] - dh * (kh - 1) - 1) // sh + 1, (v.shape[3] - dw * (kw - 1) - 1) // sw + 1
    parts: list[Array] = []
    for group, rows in zip(np.split(v, groups, axis=1), np.split(weight, groups), strict=True):
        out = np.zeros((len(v), len(rows), mh * mw))
        for i, j in np.ndindex(kh, kw):
            seen = group[:, :, i * dh : i * dh + sh * (mh - 1) + 1 : sh, j * dw : j * dw + sw * (mw - 1) + 1 : sw]
            out += rows[:, :, i, j] @ seen.reshape(len(v), -1, mh * mw)
        parts.append(out.reshape(len(v), -1, mh, mw))
    return np.concatenate(parts, axis=1)


def conv_norm(layer: Layer, shape: Shape, out: Shape) -> tuple[float, str]:
    """Windows without overlap: the kernel; small: the operator as a matrix; otherwise a grid. Groups: the maximum."""
    stride, dilation, (groups,) = layer.integers("stride"), layer.integers("dilation"), layer.integers("groups", 1)
    parts, taps = np.split(layer.tensors["weight"], groups), layer.tensors["weight"].shape[2:]
    if all(stride[i] > dilation[i] * (taps[i] - 1) for i in (0, 1)):
        return proved_norm(part.reshape(len(part), -1) for part in parts), "windows without overlap"
    if min(math.prod(shape), math.prod(out)) <= EXPLICIT_SIDE * groups:
        return proved_norm(explicit(layer, part, (shape[0] // groups, *shape[1:])) for part in parts), "explicit matrix"
    before = layer.integers("padding", 4, 0)[::2]
    axes = [Axis.of(taps[i], shape[1 + i], out[1 + i], stride[i], dilation[i], before[i]) for i in (0, 1)]
    return max(grid_norm(part, *axes) for part in parts), "circulant grid"


def explicit(layer: Layer, weight: Array, shape: Shape) -> Array:
    """The operator, transposed: rows are the images of unit vectors, exact because each entry is one weight."""
    size, layer = math.prod(shape), layer._replace(settings={**layer.settings, "groups": 1})
    units = [np.arange(i, min(i + 256, size))[:, None] == np.arange(size) for i in range(0, size, 256)]
    images = [convolve(layer, unit.astype(np.float64).reshape(-1, *shape), weight) for unit in units]
    return np.concatenate([image.reshape(len(image), -1) for image in images])


def pool_matrix(layer: Layer, n: int, axis: int) -> Array:
    """Entry (o, i) is 1 where output o of an average pool sees input i, along one axis of n pixels."""
    k, s, p = (layer.integers(name, 2, name != "padding")[axis] for name in ("kernel", "stride", "padding"))
    start = np.arange((n + 2 * p - k) // s + 1)[:, None] * s - p
    return ((np.arange(n) >= start) & (np.arange(n) < start + k)).astype(np.float64)


def lipschitz(layer: Layer, shape: Shape, out: Shape) -> tuple[float, str]:
    """An upper bound of the layer's Lipschitz constant in the Euclidean norm, and how it was found."""
    if layer.kind == "conv":
        return conv_norm(layer, shape, out)
    if layer.kind == "dense":
        return proved_norm([layer.tensors["weight"]]), "matrix"
    if layer.kind == "scale":
        return float(np.abs(layer.tensors["scale"]).max()), "largest scale"
    if layer.kind == "avg_pool":  # the Kronecker product of one matrix per axis, each divided by the kernel's side
        sides = [proved_norm([pool_matrix(layer, shape[1 + axis], axis)]) for axis in (0, 1)]
        return UP * sides[0] * sides[1] / math.prod(layer.integers("kernel")), "matrix per axis"
    if layer.kind == "activation" and layer.settings["function"] in ("leaky_relu", "elu"):
        return max(abs(layer.settings["parameter"]), 1.0), "closed form"
    return 0.25 if layer.kind == "activation" and layer.settings["function"] == "sigmoid" else 1.0, "closed form"


def apply(layer: Layer, v: Array) -> tuple[Array, Array]:
    """The layer, and per image a bound of the rounding error that this layer adds (Euclidean norm)."""
    if layer.kind in ("conv", "dense"):
        y, error = linear(layer, v)
        return y, lengths(error)
    if layer.kind in ("scale", "offset"):
        value = np.broadcast_to(layer.tensors[layer.kind].reshape(-1, *[1] * (v.ndim - 2)), v.shape)
        y = v * value if layer.kind == "scale" else v + value
        return y, 2 * U * lengths(y)
    if layer.kind == "activation":
        return activation(v, layer.settings["function"], layer.settings["parameter"])
    if layer.kind in REARRANGING:
        return rearrange(layer, v), np.zeros(len(v))
    high, wide = (pool_matrix(layer, n, axis) for axis, n in enumerate(v.shape[2:]))
    count = math.prod(layer.integers("kernel"))
    y, size = (high @ part @ wide.T / count for part in (v, np.abs(v)))
    return y, 2 * gamma(count + 2) * lengths(size)


def linear(layer: Layer, v: Array) -> tuple[Array, Array]:
    """Entry by entry |computed - exact| <= gamma(fan-in + 2) (|W||v| + |b|) (Higham, section 3.5)."""
    weight, bias = layer.tensors["weight"], layer.tensors["bias"]
    if layer.kind == "conv":
        bias = bias[:, None, None]
        y, size = convolve(layer, v, weight), convolve(layer, np.abs(v), np.abs(weight))
    else:
        y, size = v @ weight.T, np.abs(v) @ np.abs(weight).T
    return y + bias, 2 * gamma(weight[0].size + 2) * (size + np.abs(bias)) + TINY


def activation(v: Array, function: str, parameter: float) -> tuple[Array, Array]:
    """Library functions are within 8 units in the last place; at most three roundings surround them."""
    if function in ("relu", "abs"):
        return (np.maximum(v, 0) if function == "relu" else np.abs(v)), np.zeros(len(v))
    if function in ("leaky_relu", "elu"):
        y = np.where(v > 0, v, parameter * (v if function == "leaky_relu" else np.expm1(np.minimum(v, 0))))
    elif function in ("tanh", "sigmoid"):
        y = np.tanh(v) if function == "tanh" else 1 / (1 + np.exp(-v))
    else:
        raise ValueError(f"activation {function!r} is not supported by this checker")
    return y, 32 * U * lengths(y)


def rearrange(layer: Layer, v: Array) -> Array:
    """Moves and comparisons: exact. What does not divide, NumPy refuses to reshape."""
    n, c, *size = v.shape
    if layer.kind == "flatten":
        return v.reshape(n, -1)
    if layer.kind == "minmax":  # channel i with channel i + c/2: first the maxima, then the minima
        first, second = np.split(v, 2, axis=1)
        return np.concatenate([np.maximum(first, second), np.minimum(first, second)], axis=1)
    (f,), (h, w) = layer.integers("factor", 1), size
    if layer.kind == "pixel_shuffle":
        return v.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * f, w * f)
    return v.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h // f, w // f)


def prove_layers(layers: list[Layer], shape: Shape) -> Iterator[tuple[float, str]]:
    """Bound and method of every operator before the head."""
    for layer in layers[:-1]:
        out = apply(layer, np.zeros((1, *shape)))[0].shape[1:]
        yield lipschitz(layer, shape, out)
        shape = out


def certify(layers: list[Layer], bounds: list[float], total: float, x: Array) -> tuple[Array, Array]:
    """Predictions j, and radii: at most the minimum over i != j of (margin - error) / (Lip(h) ||w_j - w_i||)."""
    v, error = x, np.zeros(len(x))
    for layer, bound in zip(layers[:-1], bounds, strict=True):
        v, added = apply(layer, v)
        error = UP * (bound * error + added + math.sqrt(v[0].size) * TINY)
    head, (logits, own) = layers[-1].tensors["weight"], linear(layers[-1], v)
    if not (np.isfinite(logits).all() and np.isfinite(own).all() and np.isfinite(error).all()):
        raise ValueError("activations overflow")
    best, radii = logits.argmax(axis=1), np.full(len(x), sys.float_info.max)
    for image, i in np.ndindex(logits.shape):
        j = best[image]
        if i == j:
            continue
        distance = frobenius(head[j] - head[i]) * (1 + 2 * U) if (head[j] != head[i]).any() else 0.0
        gap = float(logits[image, j] - logits[image, i])
        gap = gap - UP * (distance * error[image] + own[image, j] + own[image, i] + 2 * U * abs(gap))
        rise = math.nextafter(UP * total * distance, math.inf) if distance else 0.0
        radius = gap / UP / rise if rise else (math.inf if gap > 0 else 0.0)
        radii[image] = min(radii[image], max(0.0, radius))
    return best, radii


def read_points(path: Path, count: int) -> dict[int, dict[str, str]]:
    """The rows of points.csv among the first ``count`` images, by index."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {int(row["index"]): row for row in rows}
    kept = {index: row for index, row in sorted(found.items()) if 0 <= index < count}
    if len(found) != len(rows) or not kept:
        raise ValueError(f"{path.name}: an index is repeated, or none is among the first {count}")
    return kept


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


def library_figures(card: dict[str, Any], report: Path | None) -> dict[str, float]:
    """The library's Lipschitz bound as the card and the report give it."""
    figures = {"card": (card.get("measured") or {}).get("lipschitz_upper_bound")}
    if report is not None:
        record = parse_json(report.read_bytes(), report.name)
        figures["report"] = record["lipschitz"]["upper_bound"]
        if record["model"]["sha256"] != card["sha256"]:
            raise Disagreement(f"{report.name} is about other weights")
    return {name: figure for name, figure in figures.items() if figure is not None}


def check(args: argparse.Namespace) -> Iterator[str]:
    """Print what was proved; yield what disagrees."""
    card, layers = read_model(args.model)
    print(f"sha256 of the weights agrees: {card['sha256']}")
    found, total = list(prove_layers(layers, tuple(card["input_shape"]))), 1.0
    for index, (bound, method) in enumerate(found):
        print(f"{index:02d} {layers[index].kind:<16}{bound:<20.15g}{method}")
        total = math.nextafter(total * bound, math.inf)
    print(f"Lipschitz upper bound {total!r}")
    if not math.isfinite(total):
        raise ValueError("no finite Lipschitz bound")
    for name, figure in library_figures(card, args.report).items():
        print(f"the library's, from its {name}: {figure!r}")
        if not total * (1 - PROOF_SLACK) - 1e-60 <= figure <= total * (1 + args.tolerance):
            yield f"the library's Lipschitz bound {figure!r} does not agree with the proved {total!r}"
    data = args.data or Path(__file__).parents[1] / "lip_plugin/data/slices" / f"{card.get('dataset')}_test.npz"
    if not (args.data or args.points or data.is_file()):
        print("no images given: radii not checked")
        return
    x, y = read_images(data, tuple(card["input_shape"]), DTYPES[card["dtype"]], args.images)
    parts = [certify(layers, [bound for bound, _ in found], total, x[i : i + 20]) for i in range(0, len(x), 20)]
    best, radii = (np.concatenate(part) for part in zip(*parts, strict=True))
    print(f"{len(x)} images: {int((best == y).sum())} right, median radius {float(np.median(radii)):.6f}")
    rows = read_points(args.points, len(x)) if args.points else {}
    worst = max((abs(float(row["radius"]) / max(radii[i], TINY) - 1) for i, row in rows.items() if radii[i]), default=0)
    print(f"{len(rows)} radii of the library compared, largest relative difference {worst:.2e}")
    for i, row in rows.items():
        for problem in point_problems(row, int(y[i]), int(best[i]), float(radii[i]), args.tolerance):
            yield f"image {i}: {problem}"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@np.errstate(all="ignore")  # what overflows is caught by the tests for finite numbers
def main(arguments: list[str]) -> int:
    parser = Parser(description="Re-prove a model directory's Lipschitz bound and radii, independently of the library.")
    parser.add_argument("model", type=Path, help="directory with card.json and model.safetensors")
    parser.add_argument("--data", type=Path, help=".npz with x and y (default: the shipped slice, if there is one)")
    parser.add_argument("--points", type=Path, help="points.csv written by lip certify --out")
    parser.add_argument("--report", type=Path, help="report.json of the same run (default: the card's figure)")
    parser.add_argument("--images", type=int, default=100, help="how many of the first images (default 100)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="relative agreement asked for (default 0.001)")
    try:
        args = parser.parse_args(arguments)
        if args.images < 1 or not 0 < args.tolerance < 1:
            raise ValueError("--images must be positive, --tolerance between 0 and 1")
        problems = list(check(args))
    except Disagreement as error:
        problems = [str(error)]
    except Exception as error:  # whatever stops the checker, it has not agreed
        print(f"bad input: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"DISAGREES: {problem}")
    print("FAILED" if problems else "OK")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
