"""The entrywise functions there are: one row each, with its Lipschitz constant, its rounding and where they come from.

A row's constant is an upper bound of sup |f'| (f is continuous, and smooth but for finitely many points, so that the
mean value theorem holds piece by piece). Closed forms are exact in the parameters; the four decimal constants are the
largest slopes at the root of f'' (Newton in 40 digits), rounded up in the last digit given. Beyond that root f'' keeps
its sign, and on the other side |f'| stays below 0.13.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds.rounding import mul_up, up

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@dataclass(frozen=True)
class Row:
    """``apply`` takes x and two parameters, of which a function uses as many as ``defaults`` has.

    ``lipschitz`` is a proved upper bound. ``units``: units in the last place granted to the tensor library's functions
    (trusted base) and the roundings around them, relative to lipschitz * |x| + ``at_zero``, which bounds |f(0)|; or to
    ``largest`` where that bounds |f| everywhere. ``inner``: the factor on x inside f, which can overflow before f does,
    or underflow, and be divided by it after that. ``plain`` is the call in torch, of {x}, {p} and {q}.
    """

    apply: Callable[[Tensor, float, float], Tensor]
    lipschitz: Callable[[float, float], float]
    units: float
    plain: str
    source: str
    defaults: tuple[float, ...] = ()
    at_zero: Callable[[float, float], float] = lambda p, q: 0.0
    largest: float | None = None
    inner: Callable[[float, float], float] = lambda p, q: 1.0
    refused: Callable[[float, float], str | None] = lambda p, q: None


def _one(p: float, q: float) -> float:
    return 1.0


def _size(p: float, q: float) -> float:
    return abs(p)


def _above(value: float) -> Callable[[float, float], float]:
    return lambda p, q: value


def _positive(name: str) -> Callable[[float, float], str | None]:
    return lambda p, q: None if p > 0 else f"{name} {p!r} is not positive, where the slope has no bound"


def _invertible(p: float, q: float) -> str | None:
    """torch multiplies by 1 / alpha: were that infinite, 0 would become NaN."""
    if 0 < p < 2.0**-126:
        return f"alpha {p!r} has no inverse in float32; use relu"
    return _positive("alpha")(p, q)


def _softplus(x: Tensor, beta: float) -> Tensor:
    """Without torch's threshold, at which its function jumps by 2e-9."""
    scaled = x * beta
    return (F.relu(scaled) + torch.log1p(torch.exp(-scaled.abs()))) / beta


ACTIVATIONS: dict[str, Row] = {
    "relu": Row(lambda x, p, q: F.relu(x), _one, 0.0, "F.relu({x})", "slopes 0 and 1"),
    "abs": Row(lambda x, p, q: x.abs(), _one, 0.0, "torch.abs({x})", "slopes -1 and 1"),
    # The product, and in float32 the slope, which is given in double.
    "leaky_relu": Row(
        lambda x, p, q: F.leaky_relu(x, p),
        lambda p, q: max(1.0, abs(p)),
        2.0,
        "F.leaky_relu({x}, {p})",
        "slopes p and 1",
        (0.01,),
    ),
    "elu": Row(
        lambda x, p, q: F.elu(x, p),
        lambda p, q: max(1.0, abs(p)),
        8.0,
        "F.elu({x}, {p})",
        "p exp(x) for x < 0, else 1",
        (1.0,),
    ),
    "selu": Row(
        lambda x, p, q: F.selu(x),
        _above(up(up(_SELU_SCALE * _SELU_ALPHA))),
        8.0,
        "F.selu({x})",
        "scale alpha exp(x) for x < 0, else scale (Klambauer et al. 2017)",
    ),
    "celu": Row(
        lambda x, p, q: F.celu(x, p),
        _one,
        16.0,
        "F.celu({x}, {p})",
        "exp(x / p) for x < 0, else 1",
        (1.0,),
        inner=lambda p, q: up(1.0 / p),
        refused=_invertible,
    ),
    "tanh": Row(lambda x, p, q: torch.tanh(x), _one, 8.0, "torch.tanh({x})", "1 - tanh^2"),
    "sigmoid": Row(lambda x, p, q: torch.sigmoid(x), _above(0.25), 8.0, "torch.sigmoid({x})", "s (1 - s)", largest=1.0),
    "hardtanh": Row(
        lambda x, p, q: F.hardtanh(x, p, q),
        _one,
        1.0,
        "F.hardtanh({x}, {p}, {q})",
        "slopes 0 and 1; ReLU6 is (0, 6)",
        (-1.0, 1.0),
        at_zero=lambda p, q: max(abs(p), abs(q)),
        refused=lambda p, q: None if p <= q else f"the lower end {p!r} is above the upper one {q!r}",
    ),
    "clamp_min": Row(
        lambda x, p, q: x.clamp(min=p), _one, 1.0, "{x}.clamp(min={p})", "slopes 0 and 1", (0.0,), at_zero=_size
    ),
    "clamp_max": Row(
        lambda x, p, q: x.clamp(max=p), _one, 1.0, "{x}.clamp(max={p})", "slopes 0 and 1", (0.0,), at_zero=_size
    ),
    "softplus": Row(
        lambda x, p, q: _softplus(x, p),
        _one,
        16.0,
        "softplus({x}, {p})",
        "sigmoid(p x)",
        (1.0,),
        at_zero=lambda p, q: 1.0 / p,
        inner=_size,
        refused=_positive("beta"),
    ),
    "log_sigmoid": Row(
        lambda x, p, q: F.logsigmoid(x), _one, 16.0, "F.logsigmoid({x})", "1 - sigmoid", at_zero=lambda p, q: 0.7
    ),
    "silu": Row(lambda x, p, q: F.silu(x), _above(1.0998393201289), 16.0, "F.silu({x})", "largest at x = 2.3993572805"),
    "gelu": Row(
        lambda x, p, q: F.gelu(x),
        _above(1.1289041451852),
        16.0,
        "F.gelu({x})",
        "Phi(x) + x phi(x), largest at the root of 2: f'' = phi(x) (2 - x^2)",
    ),
    "gelu_tanh": Row(
        lambda x, p, q: F.gelu(x, approximate="tanh"),
        _above(1.1289930686588),
        16.0,
        'F.gelu({x}, approximate="tanh")',
        "largest at x = 1.4185040088",
    ),
    "mish": Row(lambda x, p, q: F.mish(x), _above(1.0884981612518), 16.0, "F.mish({x})", "largest at x = 1.4905711795"),
    "hardswish": Row(
        lambda x, p, q: F.hardswish(x),
        _above(1.5),
        8.0,
        "F.hardswish({x})",
        "(2 x + 3) / 6 on [-3, 3], largest at 3",
        inner=_above(6.0),  # x relu6(x + 3) / 6
    ),
    "hardsigmoid": Row(
        lambda x, p, q: F.hardsigmoid(x),
        _above(up(1.0 / 6.0)),
        8.0,
        "F.hardsigmoid({x})",
        "slopes 0 and 1/6",
        largest=1.0,
    ),
    "softsign": Row(lambda x, p, q: F.softsign(x), _one, 4.0, "F.softsign({x})", "1 / (1 + |x|)^2"),
    "tanhshrink": Row(lambda x, p, q: F.tanhshrink(x), _one, 16.0, "F.tanhshrink({x})", "tanh^2"),
    "softshrink": Row(
        lambda x, p, q: F.softshrink(x, p),
        _one,
        4.0,
        "F.softshrink({x}, {p})",
        "slopes 0 and 1",
        (0.5,),
        refused=lambda p, q: None if p >= 0 else f"lambda {p!r} is negative, where the function jumps",
    ),
    "sin": Row(lambda x, p, q: torch.sin(x), _one, 8.0, "torch.sin({x})", "cos", largest=1.0),
    "cos": Row(lambda x, p, q: torch.cos(x), _one, 8.0, "torch.cos({x})", "-sin", largest=1.0),
    "atan": Row(lambda x, p, q: torch.atan(x), _one, 8.0, "torch.atan({x})", "1 / (1 + x^2)"),
    "erf": Row(
        lambda x, p, q: torch.erf(x),
        _above(mul_up(2.0, up(1.0 / math.sqrt(math.pi)))),
        8.0,
        "torch.erf({x})",
        "2 / sqrt(pi) exp(-x^2)",
    ),
}
"""By the name that an `Activation` is stored with."""

PLAIN_SOFTPLUS = '''\
def softplus(x, beta):
    """Without a threshold, at which the function would jump."""
    scaled = x * beta
    return (F.relu(scaled) + torch.log1p(torch.exp(-scaled.abs()))) / beta
'''
