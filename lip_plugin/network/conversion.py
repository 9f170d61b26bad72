"""From modules to operators: exact types only, and only where the module runs what its type says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.classifier import CertifiedClassifier
from lip_plugin.network.integrity import refuse_altered
from lip_plugin.network.operators import Head, Operator
from lip_plugin.types import ImageShape

M_ = TypeVar("M_", bound=nn.Module)
Converter = Callable[[Any], Sequence[Operator]]

_CONVERTERS: dict[type[nn.Module], Converter] = {}


def converts(
    module_type: type[M_],
) -> Callable[[Callable[[M_], Sequence[Operator]]], Callable[[M_], Sequence[Operator]]]:
    """Register the operators of one exact module type."""

    def register(converter: Callable[[M_], Sequence[Operator]]) -> Callable[[M_], Sequence[Operator]]:
        if module_type in _CONVERTERS:
            raise ValueError(f"{module_type.__name__} has a converter already")
        _CONVERTERS[module_type] = converter
        return converter

    return register


def wrap(features: nn.Module, head: nn.Linear, *, input_shape: ImageShape) -> CertifiedClassifier:
    """Freeze a user's own network, x (B, C, H, W) in [0,1] -> head(features(x)).

    ``features`` may nest `nn.Sequential`; every leaf must be a supported type exactly (no subclass), in
    eval mode, without hooks, parametrisations or replaced forwards. Put any input normalisation inside
    ``features``. The weights are copied; later changes to the modules do not reach the frozen network.
    Raises UnsupportedLayerError naming the module's path.
    """
    for name, module in (("features", features), ("head", head)):
        if not isinstance(module, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UnsupportedLayerError(f"{name} is {type(module).__name__}; expected a torch module")
    operators = convert(features, "features")
    refuse_altered(head, "head")
    if type(head) is not nn.Linear:
        raise UnsupportedLayerError(f"head is {type(head).__name__}; expected torch.nn.Linear exactly")
    bias = None if head.bias is None else head.bias.detach().clone()  # pyright: ignore[reportUnnecessaryComparison]
    return CertifiedClassifier(operators, Head(head.weight.detach().clone(), bias), input_shape=input_shape)


def convert(module: nn.Module, path: str) -> tuple[Operator, ...]:
    """The operators of a module, in order. Raises UnsupportedLayerError naming the path."""
    refuse_altered(module, path)
    if type(module) is nn.Sequential:
        # Not named_children(), which leaves out a module that occurs twice.
        children = module._modules.items()  # pyright: ignore[reportPrivateUsage]
        return tuple(op for name, child in children for op in _convert_child(child, f"{path}.{name}"))
    converter = _CONVERTERS.get(type(module))
    if converter is None:
        raise UnsupportedLayerError(
            f"{path} is {type(module).__module__}.{type(module).__qualname__}, which has no operator "
            f"(exact types only); supported: {', '.join(sorted(known.__name__ for known in _CONVERTERS))}"
        )
    try:
        return tuple(converter(module))
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(f"{path}: {error}") from error


def _convert_child(child: nn.Module | None, path: str) -> tuple[Operator, ...]:
    if child is None:
        raise UnsupportedLayerError(f"{path} is None; torch cannot run it either")
    return convert(child, path)
