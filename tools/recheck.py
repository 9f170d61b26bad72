"""Independent checker: re-proves a model directory's Lipschitz bound and the radii of its first images.

    python tools/recheck.py MODEL_DIR [--data FILE.npz] [--points points.csv] [--report report.json]

NumPy and the standard library only; written from the documents (docs/soundness.md, docs/operators.md), not from the
library. Exit 0: everything agrees; 1: something disagrees, named with its numbers; 2: bad input, in one line.

Trusted: IEEE double precision; matrix products that are sums of products in some order; sin and cos within 4, tanh, exp
and expm1 within 8 units in the last place. LAPACK is not: a Cholesky factor is a guess, checked by multiplying it out.
The terms of an error bound are sums and products of non-negative numbers, so UP (2^-40 relative) covers the rounding of
the few hundred operations that evaluate one.
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

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Blocks = dict[tuple[int, int], Array]  # a Hermitian matrix: blocks (i, j) of one size, i >= j, zero where there is none
Gram = tuple[Blocks, float]  # A A^H, and at least the Frobenius norm of its rounding errors

U, UP = 2.0**-53, 1 + 2.0**-40
TINY = 2.0**-500  # per number: covers underflow, also that of a square below a square root
SMALL, LOOSE = 1024, 1.0009  # strips: for operators of so few rows or columns, or where a grid exceeds a guess so much
STRIPS_WORK = 2**39  # about the operations of a proof on strips; where they would be more, there is only the grid
PROOF_SLACK = 1e-6  # relative: how far a figure of the library may lie beyond the proved one, rounding terms of both
ABSOLUTE_SLACK = 1e-7  # the same for radii near zero
MAX_HEADER, MAX_INTEGER = 1 << 24, 4096
DTYPES = {"float32": "<f4", "float64": "<f8", "F32": "<f4", "F64": "<f8"}
WEIGHTED = {kind: ["weight"] for kind in ("conv", "dense", "head")}
TENSORS = {"offset": ["offset"], "scale": ["scale"], "prelu": ["slope"], **WEIGHTED}
BY_CHANNELS = ["gather", "group_sort", "minmax", "partial_abs", "spatial_shift"]
MOVES = [*BY_CHANNELS, "flatten", "pixel_shuffle", "pixel_unshuffle", "reshape", "pad", "repeat"]
KINDS = [*TENSORS, *MOVES, "activation", "avg_pool", "l2_pool"]
PASSED = [
    "offset",
    "scale",
    "flatten",
    "pixel_unshuffle",
    "avg_pool",
    "pad",
]  # by a scale on its way to the next weight
PADDING: dict[str, Any] = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


LARGEST_SLOPE = {
    **{"sigmoid": 0.25, "selu": 1.75809934084737691, "silu": 1.0998393201289, "gelu": 1.1289041451852},
    **{"gelu_tanh": 1.1289930686588, "mish": 1.0884981612518, "hardswish": 1.5, "erf": 1.12837916709552},
    **{"hardsigmoid": 0.16666666666666669},
}


def erf(v: Array) -> Array:
    return np.array([math.erf(value) for value in v.ravel()]).reshape(v.shape)


def softplus(v: Array, beta: float) -> Array:
    return np.maximum(v, 0) + np.log1p(np.exp(-np.abs(beta * v))) / beta


ENTRYWISE = {  # of an array and up to two parameters
    "selu": lambda v, p, q: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(np.minimum(v, 0))),
    "celu": lambda v, p, q: np.where(v > 0, v, p * np.expm1(np.minimum(v, 0) / p)),
    "hardtanh": lambda v, p, q: np.clip(v, p, q),
    "clamp_min": lambda v, p, q: np.maximum(v, p),
    "clamp_max": lambda v, p, q: np.minimum(v, p),
    "softplus": lambda v, p, q: softplus(v, p),
    "log_sigmoid": lambda v, p, q: -softplus(-v, 1.0),
    "silu": lambda v, p, q: v / (1 + np.exp(-v)),
    "gelu": lambda v, p, q: v * 0.5 * (1 + erf(v / math.sqrt(2))),
    "gelu_tanh": lambda v, p, q: v * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "mish": lambda v, p, q: v * np.tanh(softplus(v, 1.0)),
    "hardswish": lambda v, p, q: v * np.clip(v + 3, 0, 6) / 6,
    "hardsigmoid": lambda v, p, q: np.clip(v + 3, 0, 6) / 6,
    "softsign": lambda v, p, q: v / (1 + np.abs(v)),
    "tanhshrink": lambda v, p, q: v - np.tanh(v),
    "softshrink": lambda v, p, q: np.sign(v) * np.maximum(np.abs(v) - p, 0),
    "sin": lambda v, p, q: np.sin(v),
    "cos": lambda v, p, q: np.cos(v),
    "atan": lambda v, p, q: np.arctan(v),
    "erf": lambda v, p, q: erf(v),
}


class Disagreement(Exception):
    """The check failed: exit 1. Any other exception is bad input: exit 2."""


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

    return json.loads(content.decode(), object_pairs_hook=unique)


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
    layers = [Layer.read(record, stored) for record in card["network"]]
    if [layer.kind == "head" for layer in layers] != [False] * (len(layers) - 1) + [True]:
        raise ValueError("card.json: the last operator, and only that one, must be a head")
    sizes = {"params": sum(v.size for v in stored.values()), "num_classes": len(layers[-1].tensors["weight"])}
    if any(card[key] != value for key, value in sizes.items()):
        raise Disagreement(f"the weights have {sizes}, the card says {card['params']} and {card['num_classes']}")
    return card, layers


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


class Axis(NamedTuple):
    """One axis of a convolution on n pixels: output o sees pixel[t, o] = stride o + first[t] through tap t; n: padding.

    A circulant on ``grid`` blocks of ``stride`` pixels contains it: so many that no wrap-around takes o to a pixel.
    """

    pixel: Array
    n: int
    first: Array
    stride: int
    grid: int

    @classmethod
    def of(cls, taps: int, n: int, stride: int, dilation: int, before: int, after: int) -> Axis:
        first, m = np.arange(taps) * dilation - before, (n + before + after - dilation * (taps - 1) - 1) // stride + 1
        pixel, shift, blocks = first[:, None] + stride * np.arange(m), first // stride, -(-n // stride)
        grid = max(blocks - int(shift.min()), m + int(shift.max()), m, blocks)
        return cls(np.where((pixel >= 0) & (pixel < n), pixel, n), n, first, stride, grid)

    def turns(self) -> Array:
        """Row i, at a tap and its phase: exp(2 pi i shift / grid). Equal shifts turn all alike: one row will do."""
        shift, phase = np.divmod(self.first, self.stride)
        rows = self.grid if len(set(shift % self.grid)) > 1 else 1
        angle = np.arange(self.grid) * (2 * math.pi / self.grid)  # within 3 u * 2 pi, cos and sin within 8 u
        turns = (np.cos(angle) + 1j * np.sin(angle))[np.outer(np.arange(rows), shift) % self.grid]
        return turns[:, :, None] * np.eye(self.stride)[phase]


def grid_norm(weight: Array, high: Axis, wide: Axis) -> float:
    """Norm of the circulant: per frequency a block, the sum over taps of weight times turn, phases side by side.

    A turn is within 32 u, a product of two within 80 u, then sums.
    """
    turns = [(row, column) for row in high.turns() for column in wide.turns()]
    blocks = (np.tensordot(np.tensordot(weight, row, (2, 0)), column, (2, 0)) for row, column in turns)
    error = (80 * U + 2 * gamma(2 * weight[0, 0].size + 4)) * frobenius(2 * np.abs(weight).sum(axis=(2, 3)))
    return UP * (proved_norm(gram_matrix(block.reshape(len(weight), -1)) for block in blocks) + error)


def strip_gram(weight: Array, high: Axis, wide: Axis) -> Gram | None:
    """A A^H, a strip being a row of the output map; None if STRIPS_WORK is too little.

    table[t] is what one row of taps does to a row of the input map, exactly. Outputs i and j share the pixels that i
    sees through s and j through t: block (i, j) sums table[s] table[t]^T. ||A||^2 is at most m ||table||^2.
    """
    (taps, m), band = high.pixel.shape, int(high.first[-1] - high.first[0]) // high.stride
    side, inner = len(weight) * wide.pixel.shape[1], weight.shape[1] * wide.n
    if max(m * (band + 1) ** 2, taps**2) * max(side, 64) ** 2 * max(side + inner, 1024) > STRIPS_WORK:
        return None
    table = np.einsum("ochj,jqp->hoqcp", weight, np.eye(wide.n + 1)[wide.pixel][..., :-1]).reshape(taps, side, inner)
    products, seen = table[:, None] @ table.transpose(0, 2, 1), high.pixel
    shared = {(i, j): (seen[:, None, i] == seen[:, j]) & (seen[:, j] < high.n) for i, j in np.ndindex(m, m) if i >= j}
    sums = {pairs.tobytes(): products[pairs].sum(axis=0) for pairs in shared.values()}
    blocks = {key: sums[pairs.tobytes()] for key, pairs in shared.items() if pairs.any() or key[0] == key[1]}
    return blocks, 2 * gamma(2 * taps * (inner + 4)) * m * frobenius(table) ** 2


class Layer(NamedTuple):
    kind: str
    settings: dict[str, Any]
    tensors: dict[str, Array]  # float64: every stored number exactly

    @classmethod
    def read(cls, record: dict[str, Any], stored: dict[str, Array]) -> Layer:
        kind, names, settings = record["kind"], set(record["tensors"]), record["settings"]
        if kind not in KINDS:
            raise ValueError(f"operator kind {kind!r} is not supported by this checker")
        if names - {"bias"} != set(TENSORS.get(kind, [])) or (names == {"weight", "bias"}) != ("bias" in names):
            raise ValueError(f"card.json: {kind} with tensors {sorted(names)}")
        if kind == "conv" and settings["padding_mode"] != "zeros":
            raise ValueError(f"conv with {settings['padding_mode']} padding is not supported by this checker")
        tensors = {key: stored[name].astype(np.float64) for key, name in record["tensors"].items()}
        if kind == "avg_pool":  # a convolution of each channel with 1 / size, rounded up
            kernel, (p, q) = integers(settings["kernel"], "avg_pool: kernel", 2, 1), settings["padding"]
            tensors["weight"] = np.full((1, 1, *kernel), math.nextafter(1 / math.prod(kernel), 2))
            settings = {**settings, "dilation": [1, 1], "groups": 1, "padding": [p, p, q, q]}
        if "weight" in tensors:
            shape, bias = tensors["weight"].shape, tensors.setdefault("bias", np.zeros(len(tensors["weight"])))
            if len(shape) != (2 if kind in ("dense", "head") else 4) or 0 in shape or bias.shape != shape[:1]:
                raise ValueError(f"card.json: {kind} with weight {shape} and bias {bias.shape}")
        return cls(kind, settings, tensors)

    def integers(self, name: str, count: int | None = 2, least: int = 1) -> list[int]:
        value = self.settings.get(name)
        return integers(value if isinstance(value, list) else [value], f"{self.kind}: {name}", count, least)

    def axes(self, size: Shape) -> list[Axis]:
        stride, dilation, ends = self.integers("stride"), self.integers("dilation"), self.integers("padding", 4, 0)
        return list(map(Axis.of, self.tensors["weight"].shape[2:], size, stride, dilation, ends[::2], ends[1::2]))

    def convolve(self, v: Array, weight: Array) -> Array:
        """The convolution itself (a cross-correlation), tap by tap: each output sums fan-in products."""
        (high, wide), (groups,) = self.axes(v.shape[2:]), self.integers("groups", 1)
        rows = np.ascontiguousarray(weight.reshape(groups, -1, *weight.shape[1:]).transpose(3, 4, 0, 1, 2))
        v = np.pad(v, ((0, 0), (0, 0), (0, 1), (0, 1)))
        v = v.reshape(len(v), groups if self.kind == "conv" else -1, weight.shape[1], *v.shape[2:])
        y = np.zeros(1)
        for i, j in np.ndindex(weight.shape[2:]):
            y = y + rows[i, j] @ v[..., high.pixel[i][:, None], wide.pixel[j]].reshape(*v.shape[:3], -1)
        return y.reshape(len(v), -1, high.pixel.shape[1], wide.pixel.shape[1])

    def conv_norm(self, shape: Shape, out: Shape) -> tuple[float, str]:
        """Windows without overlap: the kernel; small, or the grid loose: strips; else a grid. Groups: the maximum."""
        (high, wide), parts = self.axes(shape[1:]), np.split(self.tensors["weight"], self.integers("groups", 1)[0])
        if self.kind == "conv" and all(axis.first[-1] - axis.first[0] < axis.stride for axis in (high, wide)):
            return proved_norm(gram_matrix(part.reshape(len(part), -1)) for part in parts), "windows without overlap"
        grams = [gram for part in parts if (gram := strip_gram(part, high, wide))]
        square = max((guess(blocks) for blocks, _ in grams), default=math.inf) * (1 + 1e-8)
        small = grams and (min(math.prod(shape), math.prod(out)) <= SMALL * len(parts) or self.kind == "avg_pool")
        bound = math.inf if small else max(grid_norm(part, high, wide) for part in parts)
        if bound > LOOSE * math.sqrt(square):
            return min(bound, proved_norm(grams, square)), "strips"
        return bound, "circulant grid"

    def lipschitz(self, shape: Shape, out: Shape) -> tuple[float, str]:
        """An upper bound of the layer's Lipschitz constant in the Euclidean norm, and how it was found."""
        if self.kind in ("conv", "avg_pool"):
            return self.conv_norm(shape, out)
        if self.kind == "dense":
            return proved_norm([gram_matrix(self.tensors["weight"])]), "matrix"
        if self.kind == "scale":
            return float(np.abs(self.tensors["scale"]).max()), "largest scale"
        if self.kind == "prelu":
            return max(1.0, float(np.abs(self.tensors["slope"]).max())), "largest slope"
        if self.kind in ("gather", "pad", "repeat"):
            return self.copies(shape)
        if self.kind == "activation" and self.settings["function"] in ("leaky_relu", "elu"):
            return max(abs(self.settings["parameter"]), 1.0), "closed form"
        return LARGEST_SLOPE.get(self.settings["function"], 1.0) if self.kind == "activation" else 1.0, "closed form"

    def copies(self, shape: Shape) -> tuple[float, str]:
        """The root of how often the most repeated entry is there."""
        numbers = np.arange(1.0, math.prod(shape) + 1).reshape(1, *shape)
        seen = np.bincount(self.rearrange(numbers).astype(np.int64).ravel())[1:]  # 0: padding
        return (1.0 if seen.max() == 1 else math.nextafter(math.sqrt(seen.max()), 9e9)), "copies of an entry"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """The layer, and per image a bound of the rounding error that this layer adds (Euclidean norm)."""
        if self.kind in ("conv", "dense", "avg_pool"):
            y, error = self.linear(v)
            return y, lengths(error)
        if self.kind in ("scale", "offset"):
            value = self.tensors[self.kind]
            value = np.broadcast_to(value if value.ndim > 1 else value.reshape(-1, *[1] * (v.ndim - 2)), v.shape)
            y = v * value if self.kind == "scale" else v + value
            return y, 2 * U * lengths(y)
        if self.kind == "prelu":
            y = np.where(v > 0, v, v * self.tensors["slope"].reshape(-1, *[1] * (v.ndim - 2)))
            return y, 2 * U * lengths(y)
        if self.kind == "l2_pool":  # squares, their sum and a root: n + 1 roundings of what is positive
            (high, wide), (h, w) = self.integers("kernel"), v.shape[2:]
            v = v[:, :, : h // high * high, : w // wide * wide].reshape(len(v), -1, h // high, high, w // wide, wide)
            y = np.sqrt((v * v).sum(axis=(3, 5)))
            return y, gamma(high * wide + 4) * lengths(y) + math.sqrt(v[0].size) * TINY
        if self.kind == "activation":
            return self.activation(v, self.settings["function"], self.settings["parameter"])
        return self.rearrange(v), np.zeros(len(v))

    def linear(self, v: Array) -> tuple[Array, Array]:
        """Entry by entry |computed - exact| <= gamma(fan-in + 4) (|W||v| + |b|) (Higham, section 3.5)."""
        weight, bias = self.tensors["weight"], self.tensors["bias"]
        if weight.ndim == 4:
            y, size, bias = self.convolve(v, weight), self.convolve(np.abs(v), np.abs(weight)), bias[:, None, None]
        else:
            y, size = v @ weight.T, np.abs(v) @ np.abs(weight).T
        return y + bias, 2 * gamma(weight[0].size + 2) * (size + np.abs(bias)) + TINY

    def activation(self, v: Array, function: str, parameter: float) -> tuple[Array, Array]:
        """Library functions are within 8 units in the last place; at most three roundings surround them."""
        if function in ("relu", "abs"):
            return (np.maximum(v, 0) if function == "relu" else np.abs(v)), np.zeros(len(v))
        if function in ("leaky_relu", "elu"):
            y = np.where(v > 0, v, parameter * (v if function == "leaky_relu" else np.expm1(np.minimum(v, 0))))
        elif function in ("tanh", "sigmoid"):
            y = np.tanh(v) if function == "tanh" else 1 / (1 + np.exp(-v))
        elif function in ENTRYWISE:
            y = ENTRYWISE[function](v, parameter, self.settings.get("second", 0.0))
            return y, 64 * U * (lengths(y) + lengths(v) + math.sqrt(v[0].size) * (1 + abs(parameter)))
        else:
            raise ValueError(f"activation {function!r} is not supported by this checker")
        return y, 32 * U * lengths(y)

    def rearrange(self, v: Array) -> Array:
        """Moves and comparisons: exact. What does not divide, NumPy refuses to reshape."""
        n, c, *size = v.shape
        if self.kind in BY_CHANNELS:
            return self.by_channels(v, c)
        if self.kind == "flatten":
            return v.reshape(n, -1)
        if self.kind == "reshape":
            return v.reshape(n, *self.integers("shape", None))
        if self.kind == "pad":
            top, bottom, left, right = self.integers("padding", 4, 0)
            return np.pad(v, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=PADDING[self.settings["mode"]])
        if self.kind == "repeat":
            high, wide = self.integers("factor")
            return v.repeat(high, axis=2).repeat(wide, axis=3)
        (f,), (h, w) = self.integers("factor", 1), size
        if self.kind == "pixel_shuffle":
            return v.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * f, w * f)
        return v.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h // f, w // f)

    def by_channels(self, v: Array, c: int) -> Array:
        if self.kind == "gather":
            return v[:, integers(self.settings["channels"], "gather: channels", None, 0, c - 1)]
        if self.kind == "group_sort":
            return np.sort(v.reshape(len(v), -1, *self.integers("size", 1), *v.shape[2:]), axis=2).reshape(v.shape)
        if self.kind == "minmax":  # channel i with channel i + c/2: first the maxima, then the minima
            first, second = np.split(v, 2, axis=1)
            return np.concatenate([np.maximum(first, second), np.minimum(first, second)], axis=1)
        most = c if self.kind == "partial_abs" else c // 4
        (count,) = integers([self.settings["channels"]], f"{self.kind}: channels", 1, 0, most)
        if self.kind == "partial_abs":
            return np.concatenate([np.abs(v[:, :count]), v[:, count:]], axis=1)
        *moved, still = np.split(v, [count, 2 * count, 3 * count, 4 * count], axis=1)  # up, down, left, right
        moved = [np.roll(part, step, axis) for part, step, axis in zip(moved, (-1, 1) * 2, (2, 2, 3, 3), strict=True)]
        return np.concatenate([*moved, still], axis=1)


def prove_layers(layers: list[Layer], shape: Shape) -> Iterator[tuple[float, str]]:
    """Bound and method of every operator before the head."""
    shapes = all_shapes(layers, shape)
    for layer, before, out in zip(layers[:-1], shapes[:-1], shapes[1:], strict=True):
        yield layer.lipschitz(before, out)


def all_shapes(layers: list[Layer], shape: Shape) -> list[Shape]:
    """The input shape of every layer."""
    shapes = [shape]
    for layer in layers[:-1]:
        shapes.append(layer.apply(np.zeros((1, *shapes[-1])))[0].shape[1:])
    return shapes


class Scaled(NamedTuple):
    """A bound of what is before the head but for scales that are in its rows, entries off by gamma(roundings)."""

    total: float
    rows: Array
    roundings: int

    def climb(self, j: int, i: int) -> float:
        """At least Lip(h) ||w_j - w_i||."""
        distance = frobenius(self.rows[j] - self.rows[i]) * (1 + 2 * U)
        off = gamma(self.roundings + 4) * (frobenius(self.rows[j]) + frobenius(self.rows[i]))
        return math.nextafter(UP * self.total * (distance + off), math.inf)


class Together(NamedTuple):
    """Layers with the scales beside them in their weights, None for such a scale; entries are off by gamma(count)."""

    layers: list[Layer | None]
    counts: list[int]

    @classmethod
    def of(cls, layers: list[Layer], shapes: list[Shape]) -> Together:
        """A scale goes into the rows of the linear layer before it (offsets between), or the columns of the next."""
        kinds, found, counts = [layer.kind for layer in layers], list[Layer | None](layers), [0] * len(layers)
        linear = [layer.kind in ("conv", "dense", "head") for layer in layers]
        for index in (i for i, kind in enumerate(kinds) if kind == "scale"):
            scale = layers[index].tensors["scale"]
            values, before, after = np.broadcast_to(scale, shapes[index][:1]), index - 1, index + 1
            while before >= 0 and kinds[before] in ("offset", "scale"):
                before -= 1
            if before >= 0 and linear[before]:
                target, values, after = before, values[:, None, None, None], -1
            else:
                while not linear[after] and kinds[after] in PASSED:
                    if kinds[after] == "flatten":
                        values = np.broadcast_to(
                            values.reshape(-1, *[1] * len(shapes[after][1:])), shapes[after]
                        ).ravel()
                    if kinds[after] == "pixel_unshuffle":
                        values = values.repeat(layers[after].integers("factor", 1)[0] ** 2)
                    after += 1
                target = after
            layer = found[target]
            if not linear[target] or layer is None:
                continue
            weight = layer.tensors["weight"]
            if after >= 0 and weight.ndim == 4:  # columns, group by group
                (groups,) = layer.integers("groups", 1)
                values = values.reshape(groups, 1, -1, 1, 1)
                weight = (weight.reshape(groups, -1, *weight.shape[1:]) * values).reshape(weight.shape)
            else:
                weight = weight * (values if after >= 0 else values.reshape(-1, *[1] * (weight.ndim - 1)))
            found[target], found[index] = layer._replace(tensors={**layer.tensors, "weight": weight}), None
            counts[target] += 1
        return cls(found, counts)

    def total(self, shapes: list[Shape], known: list[float]) -> float:
        """At least the norm of everything before the head; ``known`` are the bounds of the layers as they are."""
        total = 1.0
        for index, layer in enumerate(self.layers[:-1]):
            if layer is not None:
                bound = known[index]
                if self.counts[index]:
                    rows = np.abs(layer.tensors["weight"]).reshape(*layer.tensors["weight"].shape[:2], -1).sum(axis=2)
                    groups = layer.integers("groups", 1)[0] if layer.kind == "conv" else 1
                    columns = rows.reshape(groups, -1, rows.shape[1]).sum(axis=1)
                    slack = (
                        UP * gamma(self.counts[index] + 4) * math.sqrt(float(rows.sum(axis=1).max() * columns.max()))
                    )
                    bound = UP * (layer.lipschitz(shapes[index], shapes[index + 1])[0] + slack)
                total = math.nextafter(total * bound, math.inf)
        return total


def with_scales(layers: list[Layer], shapes: list[Shape], bounds: list[float]) -> tuple[float, Scaled | None]:
    """The bound of everything before the head, scales taken into its weights; and into the head's."""
    if all(layer.kind != "scale" for layer in layers):
        return math.inf, None
    alone = layers[-1]._replace(kind="end")  # the head keeps its own rows
    total = Together.of([*layers[:-1], alone], shapes).total(shapes, bounds)
    both = Together.of(layers, shapes)
    assert both.layers[-1] is not None
    return total, Scaled(both.total(shapes, bounds), both.layers[-1].tensors["weight"], both.counts[-1])


def certify(
    layers: list[Layer], bounds: list[float], total: float, x: Array, scaled: Scaled | None = None
) -> tuple[Array, Array]:
    """Predictions j, and radii: at most the minimum over i != j of (margin - error) / (Lip(h) ||w_j - w_i||).

    ``scaled``: another Lip(h), and rows that hold the scales before them; the better pair counts.
    """
    v, error = x, np.zeros(len(x))
    for layer, bound in zip(layers[:-1], bounds, strict=True):
        v, added = layer.apply(v)
        error = UP * (bound * error + added + math.sqrt(v[0].size) * TINY)
    head, (logits, own) = layers[-1].tensors["weight"], layers[-1].linear(v)
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


def read_points(path: Path, count: int) -> dict[int, dict[str, str]]:
    """The rows of points.csv among the first ``count`` images, by index."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    kept = {int(row["index"]): row for row in rows if 0 <= int(row["index"]) < count}
    if len({int(row["index"]) for row in rows}) != len(rows) or not kept:
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


def check(args: argparse.Namespace) -> Iterator[str]:
    """Print what was proved; yield what disagrees."""
    card, layers = read_model(args.model)
    print(f"sha256 of the weights agrees: {card['sha256']}")
    found, total = list(prove_layers(layers, tuple(card["input_shape"]))), 1.0
    for index, (bound, method) in enumerate(found):
        print(f"{index:02d} {layers[index].kind:<16}{bound:<20.15g}{method}")
        total = math.nextafter(total * bound, math.inf)
    bounds = [bound for bound, _ in found]
    less, scaled = with_scales(layers, all_shapes(layers, tuple(card["input_shape"])), bounds)
    total = min(total, less)
    print(f"Lipschitz upper bound {total!r}")
    if not math.isfinite(total):
        raise ValueError("no finite Lipschitz bound")
    figures: dict[str, Any] = {"card": (card.get("measured") or {}).get("lipschitz_upper_bound")}
    if args.report:
        report = parse_json(args.report.read_bytes(), args.report.name)
        figures["report"] = report["lipschitz"]["upper_bound"]
        if report["model"]["sha256"] != card["sha256"]:
            yield f"{args.report.name} is about other weights"
    for name, figure in [item for item in figures.items() if item[1] is not None]:
        print(f"the library's, from its {name}: {figure!r}")
        if not total * (1 - PROOF_SLACK) - 1e-60 <= figure <= total * (1 + args.tolerance):
            yield f"the library's Lipschitz bound {figure!r} does not agree with the proved {total!r}"
    data = args.data or Path(__file__).parents[1] / "lip_plugin/data/slices" / f"{card.get('dataset')}_test.npz"
    if not (args.data or args.points or data.is_file()):
        print("no images given: radii not checked")
        return
    x, y = read_images(data, tuple(card["input_shape"]), DTYPES[card["dtype"]], args.images)
    parts = [certify(layers, bounds, total, x[i : i + 20], scaled) for i in range(0, len(x), 20)]
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
    print("\n".join([*(f"DISAGREES: {problem}" for problem in problems), "FAILED" if problems else "OK"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
