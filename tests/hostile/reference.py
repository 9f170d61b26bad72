"""A network rebuilt from the two files with NumPy alone, and its constants from singular values.

Shares no code with the package: JSON and offsets are read here, windows are cut by NumPy, and the norm of a linear
layer is the largest singular value of the matrix that it is on a basis. For small networks only.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = dict[str, Any]
LARGEST_BASIS = 600
_TYPES = {"F32": "<f4", "F64": "<f8"}


def read_model(directory: Path) -> tuple[tuple[int, ...], list[Layer]]:
    """Input shape and layers: kind, settings, and tensors as float64 arrays."""
    card = json.loads((directory / "card.json").read_text(encoding="utf-8"))
    content = (directory / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]

    def tensor(name: str) -> Array:
        start, end = header[name]["data_offsets"]
        flat = np.frombuffer(data[start:end], dtype=_TYPES[header[name]["dtype"]])
        return flat.reshape(header[name]["shape"]).astype(np.float64)

    def rebuilt(record: Layer) -> Layer:
        tensors = {field: tensor(name) for field, name in record["tensors"].items()}
        return {"kind": record["kind"], **record["settings"], **tensors}

    return tuple(card["input_shape"]), [rebuilt(record) for record in card["network"]]


def _windows(x: Array, kernel: Any, stride: Any, dilation: Any = (1, 1)) -> Array:
    """(B, C, H, W) -> (B, C, Y, X, kh, kw)"""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    return sliding_window_view(x, extent, axis=(2, 3))[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _pad(x: Array, sizes: Any, *, value: float = 0.0, circular: bool = False) -> Array:
    top, bottom, left, right = sizes
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(x, widths, mode="wrap") if circular else np.pad(x, widths, constant_values=value)


def _conv(x: Array, layer: Layer) -> Array:
    circular = layer.get("padding_mode", "zeros") == "circular"
    x = _pad(x, layer.get("padding", [0] * 4), circular=circular)
    weight, groups = layer["weight"], layer.get("groups", 1)
    cut = _windows(x, weight.shape[2:], layer.get("stride", [1, 1]), layer.get("dilation", [1, 1]))
    parts = zip(np.split(cut, groups, axis=1), np.split(weight, groups, axis=0), strict=True)
    out = np.concatenate([np.einsum("bcyxhw,ochw->boyx", window, part) for window, part in parts], axis=1)
    return out + layer["bias"][:, None, None] if "bias" in layer else out


def _avg_pool(x: Array, layer: Layer) -> Array:
    (ph, pw), kernel = layer.get("padding", [0, 0]), layer["kernel"]
    return _windows(_pad(x, (ph, ph, pw, pw)), kernel, layer["stride"]).mean(axis=(4, 5))


def _max_windows(x: Array, layer: Layer) -> Array:
    ph, pw = layer.get("padding", [0, 0])
    padded = _pad(x, (ph, ph, pw, pw), value=-np.inf)
    return _windows(padded, layer["kernel"], layer["stride"], layer.get("dilation", [1, 1]))


def _shuffled(x: Array, layer: Layer) -> Array:
    groups = layer["groups"]
    return x.reshape(len(x), groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def _depth_to_space(x: Array, layer: Layer) -> Array:
    (batch, channels, height, width), r = x.shape, layer["factor"]
    parts = x.reshape(batch, channels // r**2, r, r, height, width)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(batch, channels // r**2, height * r, width * r)


def _space_to_depth(x: Array, layer: Layer) -> Array:
    (batch, channels, height, width), r = x.shape, layer["factor"]
    parts = x.reshape(batch, channels, height // r, r, width // r, r)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(batch, channels * r**2, height // r, width // r)


def _minmax(x: Array, layer: Layer) -> Array:
    a, b = np.split(x, 2, axis=1)
    return np.concatenate([np.maximum(a, b), np.minimum(a, b)], axis=1)


def _per_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *[1] * (x.ndim - 2)) if values.ndim == 1 else values


def _activation(x: Array, layer: Layer) -> Array:
    parameter = layer.get("parameter", 0.0)
    with np.errstate(over="ignore"):
        functions: dict[str, Callable[[], Array]] = {
            "relu": lambda: np.maximum(x, 0),
            "abs": lambda: np.abs(x),
            "leaky_relu": lambda: np.where(x >= 0, x, parameter * x),
            "elu": lambda: np.where(x >= 0, x, parameter * np.expm1(np.minimum(x, 0))),
            "tanh": lambda: np.tanh(x),
            "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        }
        return functions[layer["function"]]()


APPLY: dict[str, Callable[[Array, Layer], Array]] = {
    "offset": lambda x, layer: x + _per_channel(layer["offset"], x),
    "scale": lambda x, layer: x * _per_channel(layer["scale"], x),
    "conv": _conv,
    "dense": lambda x, layer: x @ layer["weight"].T + layer.get("bias", 0.0),
    "head": lambda x, layer: x @ layer["weight"].T + layer.get("bias", 0.0),
    "minmax": _minmax,
    "avg_pool": _avg_pool,
    "max_pool": lambda x, layer: _max_windows(x, layer).max(axis=(4, 5)),
    "l2_pool": lambda x, layer: np.sqrt(np.square(_windows(x, layer["kernel"], layer["kernel"])).sum(axis=(4, 5))),
    "flatten": lambda x, layer: x.reshape(len(x), -1),
    "channel_shuffle": _shuffled,
    "pixel_shuffle": _depth_to_space,
    "pixel_unshuffle": _space_to_depth,
    "activation": _activation,
}
_LINEAR = {"conv", "dense", "avg_pool"}


def forward(layers: list[Layer], x: Array) -> tuple[list[tuple[int, ...]], Array]:
    """The shape before every layer, and the logits."""
    shapes: list[tuple[int, ...]] = []
    for layer in layers:
        shapes.append(x.shape[1:])
        x = APPLY[layer["kind"]](x, layer)
    return shapes, x


def lipschitz(layer: Layer, shape: tuple[int, ...]) -> float | None:
    """The constant of a layer, or None where its matrix would be too large."""
    size = int(np.prod(shape))
    if layer["kind"] == "scale":
        return float(np.abs(layer["scale"]).max())
    if layer["kind"] == "activation":
        slopes = {"leaky_relu": max(1.0, abs(layer.get("parameter", 0.0))), "sigmoid": 0.25}
        return float({**slopes, "elu": slopes["leaky_relu"]}.get(layer["function"], 1.0))
    if layer["kind"] not in _LINEAR | {"max_pool"}:
        return 1.0
    if size > LARGEST_BASIS:
        return None
    if layer["kind"] == "max_pool":
        pixels = np.arange(1, 1 + size, dtype=np.float64).reshape(1, *shape)
        seen = _max_windows(pixels, layer).reshape(-1)
        return float(np.sqrt(np.bincount(seen[seen > 0].astype(int)).max()))
    basis = np.eye(size).reshape(size, *shape)
    matrix = APPLY[layer["kind"]](basis, {key: value for key, value in layer.items() if key != "bias"})
    return float(np.linalg.norm(matrix.reshape(size, -1), 2))


def radii(directory: Path, x: Array) -> tuple[Array, Array, Array | None]:
    """Logits, the scale of their rounding, and margin over Lipschitz constant: None beyond `LARGEST_BASIS`."""
    _, layers = read_model(directory)
    shapes, logits = forward(layers, x)
    constants = [lipschitz(layer, shape) for layer, shape in zip(layers[:-1], shapes, strict=False)]
    spread = np.abs(logits).max(axis=1) * 1e-9
    if any(constant is None for constant in constants):
        return logits, spread, None
    product = float(np.prod([constant for constant in constants if constant is not None]))
    head = layers[-1]["weight"]
    spread += 1e-10 * product * np.linalg.norm(head) * np.linalg.norm(x.reshape(len(x), -1), axis=1)
    best = logits.argmax(axis=1)
    distance = product * np.linalg.norm(head[best][:, None] - head[None], axis=2)
    gap = logits.max(axis=1, keepdims=True) - logits + spread[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = gap / distance
    quotient[np.arange(len(x)), best] = np.inf
    return logits, spread, quotient.min(axis=1)
