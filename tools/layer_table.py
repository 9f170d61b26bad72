"""The table of docs/layers.md: every layer class of torch.nn, and of deel-torchlip and orthogonium where installed.

    python tools/layer_table.py > docs/layers.md

Each class is tried: accepted (one operator), rewritten (into several, or into none), or refused with what to do.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import nn

from lip_plugin.errors import LipPluginError
from lip_plugin.wrapping import operators_of
from lip_plugin.wrapping.remedies import remedy

IMAGE, ROW, VECTOR = (4, 8, 8), (4, 8), (16,)
CONTAINERS = ("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential")
NOT_LAYERS = (
    *("Parameter", "UninitializedParameter", "UninitializedBuffer", "Buffer", "DataParallel"),
    *("AOLReparametrizer", "ConvExponential", "Skew"),  # orthogonium's parametrisations
)

MADE: dict[str, Callable[[], nn.Module]] = {
    "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(2),
    "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(2),
    "AdaptiveMaxPool1d": lambda: nn.AdaptiveMaxPool1d(2),
    "AdaptiveMaxPool2d": lambda: nn.AdaptiveMaxPool2d(2),
    "AvgPool1d": lambda: nn.AvgPool1d(2),
    "AvgPool2d": lambda: nn.AvgPool2d(2),
    "BatchNorm1d": lambda: nn.BatchNorm1d(16),
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "ChannelShuffle": lambda: nn.ChannelShuffle(2),
    **{
        f"{name}1d": partial(getattr(nn, f"{name}1d"), 1)
        for name in ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad")
    },
    "CircularPad2d": lambda: nn.CircularPad2d(1),
    "ConstantPad1d": lambda: nn.ConstantPad1d(1, 0.0),
    "ConstantPad2d": lambda: nn.ConstantPad2d(1, 0.0),
    "Conv1d": lambda: nn.Conv1d(4, 2, 3),
    "Conv2d": lambda: nn.Conv2d(4, 2, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 2, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 2, 3),
    "LPPool1d": lambda: nn.LPPool1d(2, 2),
    "LPPool2d": lambda: nn.LPPool2d(2, 2),
    "Linear": lambda: nn.Linear(16, 3),
    "MaxPool1d": lambda: nn.MaxPool1d(2),
    "MaxPool2d": lambda: nn.MaxPool2d(2),
    "PReLU": nn.PReLU,
    "PixelShuffle": lambda: nn.PixelShuffle(2),
    "PixelUnshuffle": lambda: nn.PixelUnshuffle(2),
    "ReflectionPad2d": lambda: nn.ReflectionPad2d(1),
    "ReplicationPad2d": lambda: nn.ReplicationPad2d(1),
    "Threshold": lambda: nn.Threshold(0.5, 0.5),
    "Unflatten": lambda: nn.Unflatten(1, (2, 2)),
    "Upsample": lambda: nn.Upsample(scale_factor=2),
    "UpsamplingNearest2d": lambda: nn.UpsamplingNearest2d(scale_factor=2),
    "ZeroPad2d": lambda: nn.ZeroPad2d(1),
}
"""How a class is made whose arguments have no default; the rest are made without any."""
ON_VECTORS = (
    *("BatchNorm1d", "FrobeniusLinear", "Linear", "OrthoLinear"),
    *("SDPBasedLipschitzDense", "SpectralLinear", "UnitNormLinear"),
)


class Library(NamedTuple):
    """A library of layers beside torch: its package, the modules that hold its classes, how those are made."""

    package: str
    modules: tuple[str, ...]
    made: dict[str, Callable[[Any], nn.Module]]


class Joined(nn.Module):
    """A join of two inputs, given x and relu(x)."""

    def __init__(self, join: nn.Module) -> None:
        super().__init__()
        self.join = join

    def forward(self, x: Any) -> Any:
        return self.join(x, torch.relu(x))


def _conv(kind: Any) -> nn.Module:
    return kind(4, 4, 3)


def _upsampling(kind: Any) -> nn.Module:
    return kind(4, 4, 2, stride=2)


def _over_channels(kind: Any) -> nn.Module:
    return kind(4)


def _dense(kind: Any) -> nn.Module:
    return kind(16, 8)


LIBRARIES = (
    Library(
        "deel-torchlip",
        ("deel.torchlip",),
        {
            **dict.fromkeys(("BatchCentering", "BatchLipNorm", "HouseHolder", "LayerCentering"), _over_channels),
            **dict.fromkeys(("FrobeniusConv2d", "PadConv2d", "SpectralConv2d", "SpectralConvTranspose2d"), _conv),
            **dict.fromkeys(("PadConv1d", "SpectralConv1d"), _conv),
            **dict.fromkeys(("FrobeniusLinear", "SpectralLinear"), _dense),
            **dict.fromkeys(("InvertibleDownSampling", "InvertibleUpSampling"), lambda kind: kind(2)),
            **dict.fromkeys(("ScaledAvgPool2d", "ScaledL2NormPool2d"), lambda kind: kind(2)),
            "LipResidual": lambda kind: Joined(kind()),
            "ScaleBiasLayer": lambda kind: kind(0.5, 4),
            "ScaledAdaptiveAvgPool2d": lambda kind: kind((1, 1)),
        },
    ),
    Library(
        "orthogonium",
        (
            "orthogonium.layers",
            "orthogonium.layers.custom_activations",
            "orthogonium.layers.residual",
            "orthogonium.layers.conv.AOC",
            "orthogonium.layers.conv.AOL",
            "orthogonium.layers.conv.SLL.sll_layer",
            "orthogonium.layers.conv.adaptiveSOC.fast_skew_ortho_conv",
            "orthogonium.layers.conv.adaptiveSOC.soc_x_rko_conv",
            "orthogonium.losses",
        ),
        {
            **dict.fromkeys(("BatchCentering2D", "HouseHolder", "HouseHolder_Order_2"), _over_channels),
            "LayerCentering2D": _over_channels,
            **dict.fromkeys(("AOLConv2D", "FastBlockConv2d", "FastSOC"), _conv),
            **dict.fromkeys(("BcopRkoConv2d", "SOCRkoConv2d"), lambda kind: kind(4, 8, 4, stride=2, padding=1)),
            "RKOConv2d": lambda kind: kind(4, 8, 2, stride=2, padding=0),
            **dict.fromkeys(("AOLConvTranspose2D", "FastBlockConvTranspose2D", "SOCTranspose"), _conv),
            **dict.fromkeys(("BcopRkoConvTranspose2d", "SOCRkoConvTranspose2d"), lambda kind: kind(4, 4, 4, stride=2)),
            "RkoConvTranspose2d": _upsampling,
            **dict.fromkeys(("OrthoLinear", "UnitNormLinear"), _dense),
            **dict.fromkeys(
                ("AdditiveResidual", "ConcatResidual", "L2NormResidual", "PrescaledAdditiveResidual"),
                lambda kind: kind(nn.ReLU()),
            ),
            "AOCLipschitzResBlock": lambda kind: kind(4, 2, 3),
            "ChannelShuffle": lambda kind: kind(2, 2),
            "SDPBasedLipschitzDense": lambda kind: kind(16, 16, 8),
            "SDPBasedLipschitzResBlock": lambda kind: kind(4, 2),
            "SLLxAOCLipschitzResBlock": lambda kind: kind(4, 8, 2),
        },
    ),
)


def layer_classes(library: Any) -> list[type[nn.Module]]:
    """The module classes of a library that somebody might put into a network, by name."""
    found = {name: value for name, value in vars(library).items() if inspect.isclass(value)}
    layers = {name: value for name, value in found.items() if issubclass(value, nn.Module)}
    return [layers[name] for name in sorted(layers) if name not in (*CONTAINERS, *NOT_LAYERS)]


def verdict(kind: type[nn.Module], make: Callable[[], nn.Module] | None = None) -> tuple[str, str]:
    """(accepted, rewritten or refused; the operators or what to do)."""
    name = kind.__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = (make or MADE.get(name, kind))().eval()
    except Exception:  # it needs arguments that no accepted layer needs
        return "refused", remedy(name)
    try:
        shape = VECTOR if name in ON_VECTORS else ROW if name.endswith("1d") else IMAGE
        operators = operators_of(module, name, shape)
    except LipPluginError as error:
        own = kind.__module__.startswith("torch.") or remedy(name) != remedy("")
        return "refused", remedy(name) if own else str(error).rpartition("; ")[2]
    words = ", ".join(operator.describe() for operator in operators) or "nothing: it is the identity in eval mode"
    return ("accepted" if len(operators) == 1 else "rewritten"), words


def table(rows: list[tuple[str, str, str]]) -> str:
    """A Markdown table, one row per class."""
    lines = [f"| `{name}` | {word} | {what} |" for name, word, what in rows]
    return "\n".join(["| layer | | becomes, or what to do |", "|---|---|---|", *lines])


def foreign_rows(library: Library) -> list[tuple[str, str, str]]:
    """One row per class of an installed library."""
    rows: dict[str, tuple[str, str, str]] = {}
    for path in library.modules:
        with warnings.catch_warnings():  # escapes in docstrings
            warnings.simplefilter("ignore")
            module = importlib.import_module(path)
        for kind in layer_classes(module):
            name, make = kind.__name__, library.made.get(kind.__name__)
            if kind.__module__.partition(".")[0] == path.partition(".")[0] and name not in rows:
                rows[name] = (name, *verdict(kind, partial(make, kind) if make else kind))
    return [rows[name] for name in sorted(rows)]


def foreign_sections() -> Iterator[str]:
    for library in LIBRARIES:
        try:
            title = f"{library.package} {version(library.package)}"
        except PackageNotFoundError:
            continue
        yield f"\n## {title}\n\n{table(foreign_rows(library))}\n"


PAGE = """\
# Layers

Generated by `tools/layer_table.py`. `lp.wrap(module, input_shape=...)` runs a module's forward once on an activation
without numbers, so that containers, subclasses, functions (`F.relu`, `x.flatten(1)`, `torch.cat` of halves) and
`x + f(x)` are read like layers. What follows tells what becomes of each layer class.

Layers of deel-torchlip and orthogonium that are not listed as refused need nothing to be done: weights that a
parametrisation computes are frozen at their value in eval mode. A sum of two paths is bounded by the sum of their
bounds, which is far above 1 for the SLL blocks of orthogonium (`x - 2 K' relu(K x + b)`).

## torch.nn

{table}
"""


def page() -> str:
    torch.manual_seed(0)
    logging.disable(logging.WARNING)  # that parametrised weights are frozen is known here
    try:
        rows = [(kind.__name__, *verdict(kind)) for kind in layer_classes(nn)]
        return PAGE.format(table=table(rows)) + "".join(foreign_sections())
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    print(page(), end="")
