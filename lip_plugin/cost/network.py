"""What a plain network costs: its forward, a certificate, the proof of its bound. From shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lip_plugin.cost.dry_run import DryRun
from lip_plugin.cost.flops import Flops
from lip_plugin.models import CertifiableModel
from lip_plugin.models.architecture import ArchitectureConfig
from lip_plugin.network import CertifiedClassifier, Operator
from lip_plugin.network.limits import placed_layers
from lip_plugin.types import ImageShape, Shape


@dataclass(frozen=True)
class NetworkCost:
    """``forward`` of an image, as its operators say (`Operator.work`); ``proof`` of the quick bound, once.

    ``weights``: bytes; ``held``: bytes that a forward of one image needs at once, beside them.
    """

    dtype: torch.dtype
    weights: int
    forward: Flops
    proof: Flops
    held: int

    @property
    def certificate(self) -> Flops:
        """Of an image, from below: a forward in float64 and one of the model. Rounding terms come to it."""
        return self.forward + Flops({torch.float64: self.forward[self.dtype]})


def network_cost(layers: Sequence[Operator], input_shape: Shape) -> NetworkCost:
    placed = list(placed_layers(layers, input_shape))
    tensors = [tensor for layer in layers for tensor in layer.tensors().values()]
    dtype = tensors[0].dtype
    return NetworkCost(
        dtype,
        sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        Flops({dtype: 2 * sum(layer.work(shape) for layer, shape in placed)}),
        Flops({torch.float64: 2 * sum(layer.proof_work(shape) for layer, shape in placed)}),
        max(layer.held(shape) for layer, shape in placed) * tensors[0].element_size(),
    )


def cost_of_model(model: CertifiedClassifier) -> NetworkCost:
    return network_cost(model.layers, model.input_shape)


def cost_of_architecture(config: ArchitectureConfig, *, input_shape: ImageShape, num_classes: int) -> NetworkCost:
    """Of what a trained model freezes into. Raises ConfigError."""
    with DryRun():
        model: CertifiableModel = config.build(input_shape=input_shape, num_classes=num_classes)
        layers = (*model.freeze_operators(), model.freeze_head())
    return network_cost(layers, model.input_shape)
