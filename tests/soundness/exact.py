"""Networks in exact rational arithmetic: at a point, or along one of the affine pieces that they are made of.

Written index by index from what each layer means; of the library only the fields of its operators are read.
For small networks: every number is a Fraction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

import lip_plugin as lp

Shape = tuple[int, ...]
ZERO = Fraction(0)


@dataclass(frozen=True)
class Form:
    """offset + slope . x of the inputs x that are left open; a number where the slope is ()."""

    slope: tuple[Fraction, ...]
    offset: Fraction

    def __sub__(self, other: Form) -> Form:
        return weighted_sum((Fraction(1), Fraction(-1)), (self, other), ZERO)

    def times(self, factor: Fraction) -> Form:
        return Form(tuple(factor * value for value in self.slope), factor * self.offset)

    def at(self, point: Sequence[Fraction]) -> Fraction:
        return sum((a * x for a, x in zip(self.slope, point, strict=True)), self.offset)


Decide = Callable[[Form], bool]
"""Is this form positive? What a piecewise linear layer asks about its inputs, one question at a time."""


def weighted_sum(weights: Sequence[Fraction], forms: Sequence[Form], constant: Fraction) -> Form:
    terms = [(weight, form) for weight, form in zip(weights, forms, strict=True) if weight]
    dimension = len(forms[0].slope) if forms else 0
    slope = tuple(sum((w * form.slope[k] for w, form in terms), ZERO) for k in range(dimension))
    return Form(slope, sum((w * form.offset for w, form in terms), constant))


def fractions(values: Tensor) -> list[Fraction]:
    """Every entry of a floating tensor, row by row, as it is."""
    return [Fraction(value) for value in values.detach().double().flatten().tolist()]


def evaluate(model: lp.CertifiedClassifier, inputs: Sequence[Form], decide: Decide) -> list[Form]:
    """The logits (K,) of flat inputs (C*H*W,). Raises KeyError for a layer that is not piecewise linear."""
    forms = list(inputs)
    for layer, shape, out in zip(model.layers, model.layer_input_shapes, _outputs(model), strict=True):
        forms = _LAYERS[layer.kind](layer, shape, out, forms, decide)
    return forms


def exact_logits(model: lp.CertifiedClassifier, point: Sequence[Fraction]) -> list[Fraction]:
    """The logits (K,) at a point (C*H*W,) of any rationals."""
    logits = evaluate(model, [Form((), value) for value in point], lambda form: form.offset > 0)
    return [form.offset for form in logits]


def exact_gap(model: lp.CertifiedClassifier, point: Sequence[Fraction], label: int) -> Fraction:
    """The label's logit less the largest of the others: positive where the point is given this label alone."""
    logits = exact_logits(model, point)
    return logits[label] - max(value for index, value in enumerate(logits) if index != label)


def square_distance(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum(((p - q) ** 2 for p, q in zip(a, b, strict=True)), ZERO)


def _outputs(model: lp.CertifiedClassifier) -> list[Shape]:
    return [*model.layer_input_shapes[1:], (model.num_classes,)]


def _dense(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    bias = [ZERO] * out[0] if layer.bias is None else fractions(layer.bias)
    return [weighted_sum(fractions(row), forms, b) for row, b in zip(layer.weight, bias, strict=True)]


def _conv(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    _, height, width = shape
    outputs, per_group, *kernel = layer.weight.shape
    weight, bias = fractions(layer.weight), [ZERO] * outputs if layer.bias is None else fractions(layer.bias)
    top, _, left, _ = layer.padding
    result: list[Form] = []
    for o, row, column in itertools.product(*map(range, out)):
        factors: list[Fraction] = []
        read: list[Form] = []
        for c, a, b in itertools.product(range(per_group), *map(range, kernel)):
            y = row * layer.stride[0] + a * layer.dilation[0] - top
            x = column * layer.stride[1] + b * layer.dilation[1] - left
            if layer.padding_mode == "circular":
                y, x = y % height, x % width
            if 0 <= y < height and 0 <= x < width:
                channel = o // (outputs // layer.groups) * per_group + c
                factors.append(weight[((o * per_group + c) * kernel[0] + a) * kernel[1] + b])
                read.append(forms[(channel * height + y) * width + x])
        dimension = len(forms[0].slope)
        result.append(weighted_sum(factors, read, bias[o]) if read else Form((ZERO,) * dimension, bias[o]))
    return result


def _windows(layer: Any, shape: Shape, out: Shape, forms: list[Form]) -> list[list[Form]]:
    """What each output of a pooling layer sees, without the padding."""
    _, height, width = shape
    (down, right), (top, left), (step_y, step_x) = layer.window()
    windows: list[list[Form]] = []
    for c, row, column in itertools.product(*map(range, out)):
        taps = itertools.product(*map(range, layer.kernel))
        places = [(row * down + a * step_y - top, column * right + b * step_x - left) for a, b in taps]
        inside = [(y, x) for y, x in places if 0 <= y < height and 0 <= x < width]
        windows.append([forms[(c * height + y) * width + x] for y, x in inside])
    return windows


def _average(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    share = Fraction(1, layer.kernel[0] * layer.kernel[1])
    return [weighted_sum([share] * len(seen), seen, ZERO) for seen in _windows(layer, shape, out, forms)]


def _max(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    result: list[Form] = []
    for seen in _windows(layer, shape, out, forms):
        largest = seen[0]
        for form in seen[1:]:
            largest = form if decide(form - largest) else largest
        result.append(largest)
    return result


def _minmax(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    half = len(forms) // 2
    pairs = [(a, b) if decide(a - b) else (b, a) for a, b in zip(forms[:half], forms[half:], strict=True)]
    return [larger for larger, _ in pairs] + [smaller for _, smaller in pairs]


def _activation(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    below = {"relu": ZERO, "abs": Fraction(-1), "leaky_relu": Fraction(layer.parameter)}[layer.function]
    return [form if decide(form) else form.times(below) for form in forms]


def _offset(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    added = _per_entry(layer.offset, shape)
    return [Form(form.slope, form.offset + value) for form, value in zip(forms, added, strict=True)]


def _scale(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    return [form.times(value) for form, value in zip(forms, _per_entry(layer.scale, shape), strict=True)]


def _per_entry(values: Tensor, shape: Shape) -> list[Fraction]:
    per_channel = values.view(-1, *[1] * (len(shape) - 1)) if values.dim() == 1 else values
    return fractions(per_channel.expand(shape))


def _flatten(layer: Any, shape: Shape, out: Shape, forms: list[Form], decide: Decide) -> list[Form]:
    return forms


_LAYERS: dict[str, Callable[[Any, Shape, Shape, list[Form], Decide], list[Form]]] = {
    "dense": _dense,
    "head": _dense,
    "conv": _conv,
    "avg_pool": _average,
    "max_pool": _max,
    "minmax": _minmax,
    "activation": _activation,
    "offset": _offset,
    "scale": _scale,
    "flatten": _flatten,
}
