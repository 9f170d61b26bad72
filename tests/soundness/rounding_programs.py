"""Programs that execute a network with their own order of summation, and the certificate that ignores rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import lip_plugin as lp
from lip_plugin.certificates import float32_program
from lip_plugin.network import Conv, Dense, Head, Operator, float64_program

from .rounding_search import Program

Apply = Callable[[Operator, Tensor], Tensor]


def slopes(model: lp.CertifiedClassifier) -> Program:
    """The network in float64 with gradients."""
    layers = [layer.map_tensors(torch.Tensor.double) for layer in model.layers]

    def logits(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer.apply(x)
        return x

    return logits


def executed(model: lp.CertifiedClassifier, dtype: torch.dtype, apply: Apply) -> Program:
    """All of it in ``dtype``, images included, each layer by ``apply``."""
    layers = [layer.map_tensors(lambda value: value.to(dtype)) for layer in model.layers]

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad():
            v = x.to(dtype)
            for layer in layers:
                v = apply(layer, v)
            return v

    return logits


def as_it_is(layer: Operator, v: Tensor) -> Tensor:
    return layer.apply(v)


def one_by_one(layer: Operator, v: Tensor) -> Tensor:
    """A batch of one at a time."""
    return torch.cat([layer.apply(row[None]) for row in v])


def backwards(layer: Operator, v: Tensor) -> Tensor:
    """Terms in reverse: the columns of matrices, and maps and kernels read from the last row and column."""
    if isinstance(layer, Dense):
        return layer.map_tensors(lambda w: w.flip(1) if w.dim() == 2 else w).apply(v.flip(1))
    if isinstance(layer, Conv):  # the strides and paddings used here are symmetric
        return layer.map_tensors(lambda w: w.flip(1, 2, 3) if w.dim() == 4 else w).apply(v.flip(1, 2, 3)).flip(2, 3)
    return layer.apply(v)


def shuffled(layer: Operator, v: Tensor) -> Tensor:
    if isinstance(layer, Dense):
        order = torch.randperm(v.shape[1], generator=torch.Generator().manual_seed(3))
        return layer.map_tensors(lambda w: w[:, order] if w.dim() == 2 else w).apply(v[:, order])
    return layer.apply(v)


def term_by_term(layer: Operator, v: Tensor) -> Tensor:
    """Bias first, then one product after another: the order with the largest errors; convolutions as matrices."""
    if isinstance(layer, Conv):
        assert not any(layer.padding) or layer.padding == (1, 1, 1, 1)
        columns = functional.unfold(v, tuple(layer.weight.shape[2:]), padding=layer.padding[0], stride=layer.stride)
        flat = columns.transpose(1, 2).reshape(-1, columns.shape[1])
        rows = _accumulated(flat, layer.weight.flatten(1), layer.bias).view(len(v), -1, layer.weight.shape[0])
        height, width = layer.output_shape(tuple(v.shape[1:]))[1:]
        return rows.transpose(1, 2).reshape(len(v), -1, height, width)
    return _accumulated(v, layer.weight, layer.bias) if isinstance(layer, Dense) else layer.apply(v)


def _accumulated(v: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    total = v.new_zeros(len(v), weight.shape[0]) if bias is None else bias.expand(len(v), -1)
    for column in range(weight.shape[1]):
        total = total + v[:, column : column + 1] * weight[:, column]
    return total


ORDERS: dict[str, Apply] = {
    "one by one": one_by_one,
    "backwards": backwards,
    "shuffled": shuffled,
    "term by term": term_by_term,
}


def programs(model: lp.CertifiedClassifier, arithmetic: str) -> dict[str, Program]:
    """What a certificate of this arithmetic speaks about, the stated program first, then other orders of summation."""
    if arithmetic == "float32":
        return {"stated": float32_program(model)}
    if arithmetic == "float64":
        others = {name: executed(model, torch.float64, apply) for name, apply in ORDERS.items() if name != "one by one"}
        return {"stated": float64_program(model), **others}
    others = {name: executed(model, torch.float32, apply) for name, apply in ORDERS.items()}
    return {"stated": lambda x: model(x.float()), **others}


def naive_radii(
    model: lp.CertifiedClassifier, program: Program, x: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Labels and radii (B,): margin over Lipschitz bound in ``dtype``, rounded to nearest, nothing subtracted.

    The bound is the product of the layers' largest singular values, and right but for rounding.
    """
    logits = program(x.double()).to(dtype)
    label = logits.argmax(1)
    bound = torch.ones((), dtype=dtype)
    for layer, shape in zip(model.operators, model.layer_input_shapes, strict=False):
        if isinstance(layer, Conv | Dense) and not isinstance(layer, Head):
            bound = bound * torch.linalg.svdvals(_matrix(layer, shape).to(dtype))[0]
    weight = model.head_weight.to(dtype)
    distance = (weight[label][:, None] - weight).norm(dim=2)
    radius = (logits.gather(1, label[:, None]) - logits) / (bound * distance)
    return label, radius.scatter(1, label[:, None], torch.inf).amin(1).double()


def _matrix(layer: Conv | Dense, shape: tuple[int, ...]) -> Tensor:
    """(outputs, inputs) float64"""
    linear = layer.map_tensors(torch.Tensor.double)
    units = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64).view(-1, *shape)
    return (linear.apply(units) - linear.apply(torch.zeros_like(units[:1]))).flatten(1).T
