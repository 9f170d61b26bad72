"""The Lipschitz constant, layer by layer."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from lip_plugin.certificates import LayerBound, LipschitzBound
from lip_plugin.report.digits import rounded_up
from lip_plugin.report.plots.style import PROVED, QUIET, label, new_axes, plot_style

_MOST_BARS = 60
_VISIBLE = 5e-4
_WIDE = 20


def worth_drawing(bound: LipschitzBound) -> list[LayerBound]:
    """Layers whose constant is not 1.000, in network order; of too many, the ones farthest from 1."""
    layers = [layer for layer in bound.layers if abs(layer.value - 1.0) >= _VISIBLE]
    farthest = sorted(layers, key=lambda layer: abs(layer.value - 1.0), reverse=True)[:_MOST_BARS]
    return [layer for layer in layers if layer in farthest]


def draw_layers(bound: LipschitzBound) -> Figure:
    """Bars from 1, on a logarithmic axis where all constants are positive: the bound is their product."""
    layers = worth_drawing(bound)
    values = [layer.value for layer in layers]
    with plot_style():
        figure, axes = new_axes(1.0 + 0.26 * len(layers))
        axes.barh(range(len(layers)), [value - 1.0 for value in values], left=1.0, height=0.65, color=PROVED)
        axes.axvline(1.0, color=QUIET, linewidth=1.2)
        axes.set_yticks(range(len(layers)), [f"{label(layer.name)}: {rounded_up(layer.value)}" for layer in layers])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.grid(False, axis="y")
        if min(values) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            wide = max(values) > _WIDE * min(values)
            axes.xaxis.set_major_locator(LogLocator() if wide else MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.margins(x=0.1)
        axes.set_xlabel("Lipschitz upper bound of the layer")
    return figure
