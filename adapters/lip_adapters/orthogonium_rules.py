"""Rules for the layers of orthogonium (0.0.4) that cannot be read from their forward; importing this registers them.

Its orthogonal layers go on with their power iteration whenever their weight is computed, in eval mode too. They are
frozen at one value of it, as every parametrisation is, and `lp.wrap` compares the result with the layer.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lip_adapters._layer_rules import as_it_runs, centred, house_holder, kinds, require_channels
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced

layers: Any = import_module("orthogonium.layers")
aoc: Any = import_module("orthogonium.layers.conv.AOC")
skew: Any = import_module("orthogonium.layers.conv.adaptiveSOC.soc_x_rko_conv")
activations: Any = import_module("orthogonium.layers.custom_activations")
residual: Any = import_module("orthogonium.layers.residual")

rule(
    *kinds(layers, "OrthoLinear"),
    *kinds(aoc, "BcopRkoConv2d", "FastBlockConv2d", "RKOConv2d"),
    *kinds(aoc, "BcopRkoConvTranspose2d", "FastBlockConvTranspose2D", "RkoConvTranspose2d"),
    *kinds(skew, "SOCRkoConv2d", "SOCRkoConvTranspose2d"),
)(as_it_runs)


@rule(*kinds(layers, "HouseHolder"))
def _house_holder(module: Any, z: Traced) -> Traced:
    require_channels(z, module.axis, "HouseHolder")
    return house_holder(z, module.theta).scaled(2**0.5, reciprocal=True)


@rule(*kinds(layers, "LayerCentering2D"))
def _layer_centering(module: Any, x: Traced) -> Traced:
    return centred(x, (-2, -1)).shifted(module.bias)


@rule(*kinds(layers, "HouseHolder_Order_2"), *kinds(activations, "SoftHuber"))
def _no_operator(module: Any, z: Traced) -> Traced:
    raise UnsupportedLayerError(f"{type(module).__name__} has no operator; use MaxMin, HouseHolder or Abs")


@rule(*kinds(residual, "L2NormResidual"))
def _no_branch(module: Any, x: Traced) -> Traced:
    raise UnsupportedLayerError(
        f"{type(module).__name__} joins its branch in a way that has no operator; use AdditiveResidual"
    )
