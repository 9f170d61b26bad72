"""Layers that several Lipschitz libraries have, as chains of operators that are bounded tightly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Conv, Dense, PReLU
from lip_plugin.wrapping.traced import Traced

_LARGEST = 4096
"""Pixels of a map that is centred by one matrix: 64x64."""


def kinds(library: Any, *names: str) -> list[type[nn.Module]]:
    """Those of these classes that the installed version of a library has."""
    return [kind for name in names if (kind := getattr(library, name, None)) is not None]


def as_it_runs(module: nn.Module, *inputs: Traced) -> Any:
    """The forward of the module's own class; a rule where only the module's state is in the way.

    Libraries go on with power iterations, or note sizes, also in eval mode. The weights are frozen as they are now.
    """
    return type(module).forward(module, *inputs)


def per_channel(input: Traced, values: Tensor) -> Tensor:
    """One number per channel, shaped to broadcast against the activation."""
    return values.detach().reshape(-1, *[1] * (input.dim() - 2))


def mixed(input: Traced, matrix: Tensor) -> Traced:
    """Channels multiplied by a matrix (O, C), alike at every position; the matrix is rounded to the network's dtype."""
    weight = matrix.to(input.session.device, input.session.dtype)
    if len(input.features) == 1:
        return input.then(Dense(weight))
    return input.then(Conv(weight[:, :, None, None].contiguous()))


def centred(input: Traced, dims: Any) -> Traced:
    """Minus the mean over a map (or over a vector): the projection I - 11'/n, of norm 1."""
    shape = input.features
    axes = sorted(axis % input.dim() for axis in ((dims,) if isinstance(dims, int) else tuple(dims)))
    if axes != list(range(2, input.dim())) and not (len(shape) == 1 and axes == [1]):
        raise UnsupportedLayerError(f"centres over dimensions {dims}; only a whole map (2, 3) is centred by one matrix")
    count = shape[0] if len(shape) == 1 else shape[1] * shape[2]
    if count > _LARGEST:
        raise UnsupportedLayerError(f"centres maps of {count} pixels; up to {_LARGEST} are bounded: pool before it")
    projection = torch.eye(count, dtype=torch.float64) - 1.0 / count
    if len(shape) == 1:
        return mixed(input, projection)
    pixels: Any = input.flatten(2).transpose(1, 2).unsqueeze(-1)  # (B, HW, C, 1): pixels as channels
    return mixed(pixels, projection).squeeze(-1).transpose(1, 2).unflatten(2, shape[1:])  # pyright: ignore[reportReturnType]


def house_holder(input: Traced, theta: Tensor) -> Traced:
    """Pairs (x_i, x_(i+C/2)) mirrored at the line of angle theta_i / 2 where they lie on one side of it. Norm 1.

    In the line's own coordinates (along, across) that is (along, -|across|): two rotations around a PReLU.
    """
    half = theta.detach().double().flatten() / 2
    cos, sin = half.cos().diag(), half.sin().diag()
    slopes = torch.ones(2 * len(half), dtype=input.session.dtype, device=input.session.device)
    slopes[len(half) :] = -1.0
    turned = mixed(input, torch.cat([torch.cat([cos, sin], 1), torch.cat([sin, -cos], 1)]))
    back = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
    return mixed(turned.then(PReLU(slopes)), back)


def require_channels(input: Traced, dim: int | None, name: str) -> None:
    """Raises UnsupportedLayerError where a layer of pairs of channels is set to another dimension."""
    if dim is not None and dim % input.dim() != 1:
        raise UnsupportedLayerError(f"{name} over dimension {dim}; only pairs of channels (dimension 1) are bounded")
