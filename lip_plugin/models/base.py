"""What every trainable architecture answers: features, freezing, and which maps training must bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.models.groups import ParameterGroup
from lip_plugin.models.layers.head import LinearHead
from lip_plugin.network import (
    CertifiedClassifier,
    Head,
    LinearOperator,
    Operator,
    refuse_altered,
    require_same_function,
)
from lip_plugin.types import Shape


@dataclass(frozen=True)
class EstimatedMap:
    """A linear map whose norm training estimates; the orthogonal ones count as 1 there.

    The norm is that of the operator's linear part on inputs of ``input_shape`` (without batch). Its tensors
    carry gradient to the parameters.
    """

    operator: LinearOperator
    input_shape: Shape


def maps_along(operators: Sequence[Operator], input_shape: Shape) -> tuple[EstimatedMap, ...]:
    """The linear operators of a chain that starts at ``input_shape``, each with the shape that reaches it."""
    maps: list[EstimatedMap] = []
    for operator in operators:
        if isinstance(operator, LinearOperator):
            maps.append(EstimatedMap(operator, input_shape))
        input_shape = operator.output_shape(input_shape)
    return tuple(maps)


class CertifiableModel(nn.Module, ABC):
    """A trainable model that can be frozen into a plain network.

    x (B, C, H, W) in [0,1] -> logits (B, K) = head(features(x)).
    """

    input_shape: tuple[int, int, int]
    head: LinearHead

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)"""

    @abstractmethod
    def freeze_operators(self) -> tuple[Operator, ...]:
        """The map into features as plain operators with merged weights; evaluation behaviour.

        The tensors may be the parameters themselves: `freeze` copies them.
        """

    @abstractmethod
    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        """The maps of the feature path whose norm is learned rather than fixed; see `maps_along`."""

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Every parameter in exactly one group; one linear group unless an architecture says otherwise."""
        return (ParameterGroup("parameters", tuple(self.parameters())),)

    def freeze_head(self) -> Head:
        return Head(self.head.merged_weight(), self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def _refuse_overridden(model: CertifiableModel) -> None:
    """A subclass that computes features its own way must also say how they freeze."""
    owners = {
        name: next(kind for kind in type(model).__mro__ if name in vars(kind))
        for name in ("features", "freeze_operators", "freeze_head", "forward")
    }
    base = CertifiableModel
    if owners["features"] is not owners["freeze_operators"] or not owners["freeze_head"] is owners["forward"] is base:
        raise UnsupportedLayerError(
            f"{type(model).__name__} overrides part of {owners['freeze_operators'].__name__}: features and "
            "freeze_operators must be defined together, forward and freeze_head not at all"
        )


def _require_linear_head(model: CertifiableModel) -> None:
    head = model.head
    known = isinstance(head, LinearHead)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not known or type(head).forward is not LinearHead.forward:
        raise UnsupportedLayerError(
            f"the head of {type(model).__name__} is {type(head).__name__}; give a LinearHead of lip_plugin.models: "
            "merged_weight and bias, without a forward of its own"
        )


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone()


def freeze(trainable_model: nn.Module) -> CertifiedClassifier:
    """The plain network that a trainable model is in evaluation, merged and independent of it.

    Pure: works in training mode too and always gives the evaluation function. Keeps the dtype. Raises
    UnsupportedLayerError for a model that is no `CertifiableModel`, or that has hooks or replaced forwards.
    """
    if not isinstance(trainable_model, CertifiableModel):
        raise UnsupportedLayerError(
            f"{type(trainable_model).__name__} cannot be frozen; give a model of lip_plugin.models, "
            "or use lp.wrap(features, head, input_shape=...) for your own torch network"
        )
    _refuse_overridden(trainable_model)
    _require_linear_head(trainable_model)
    for path, module in trainable_model.named_modules():
        refuse_altered(module, path or "model", training_allowed=True)
    with torch.no_grad():
        operators = [operator.map_tensors(_copy) for operator in trainable_model.freeze_operators()]
        head = trainable_model.freeze_head().map_tensors(_copy)
    classifier = CertifiedClassifier(operators, head, input_shape=trainable_model.input_shape)
    _require_same_function(trainable_model, classifier)
    return classifier


def _require_same_function(model: CertifiableModel, classifier: CertifiedClassifier) -> None:
    """Both must agree on random images: catches submodules that were exchanged after construction."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        require_same_function(type(model).__name__, model, classifier, dtype=classifier.dtype)
    finally:
        for module, mode in modes.items():
            module.training = mode
