"""Whether a module runs what its type says: everything else is refused rather than certified as something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.kinds import is_unaltered
from lip_plugin.network.operators import Head, Operator
from lip_plugin.network.plain import tensor_flaw
from lip_plugin.network.shapes import buffer_name, trace_shapes
from lip_plugin.network.surroundings import foreign_surroundings
from lip_plugin.types import Shape

_NORM_HOOKS = (WeightNorm, SpectralNorm)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def refuse_altered(
    module: nn.Module, path: str, *, training_allowed: bool = False, reparametrised_allowed: bool = False
) -> None:
    """Raise UnsupportedLayerError where a module would not run what its type says.

    With ``reparametrised_allowed`` weights may be computed by torch's parametrisations when they are read, and by the
    older `weight_norm` and `spectral_norm` before every call: the same number every time, in eval mode.
    """
    if module.training and not training_allowed:
        raise UnsupportedLayerError(f"{path} ({type(module).__name__}) is in training mode; call .eval() first")
    reason = alteration(module, reparametrised_allowed=reparametrised_allowed)
    if reason is not None:
        raise UnsupportedLayerError(f"{path} ({type(module).__name__}) {reason}; only unaltered modules are certified")


def reparametrised(module: nn.Module) -> tuple[str, ...]:
    """The names of the module's tensors that are computed when it runs, by torch's own means."""
    new = getattr(module, "parametrizations", None)
    names = list(new) if parametrize.is_parametrized(module) and isinstance(new, nn.ModuleDict) else []
    return (*names, *(str(hook.name) for hook in module._forward_pre_hooks.values() if isinstance(hook, _NORM_HOOKS)))  # pyright: ignore[reportPrivateUsage]


def alteration(module: nn.Module, *, reparametrised_allowed: bool = False) -> str | None:
    """Why a module would not run what its type says, as the end of a sentence about it; None where it does."""
    harmless = _NORM_HOOKS if reparametrised_allowed else ()
    if any(type(hook) not in harmless for hooks in _HOOKS for hook in (getattr(module, hooks, None) or {}).values()):
        return "has hooks"
    surroundings = foreign_surroundings()
    if surroundings is not None:
        return surroundings
    if not reparametrised_allowed and parametrize.is_parametrized(module):
        return "has parametrisations, call torch.nn.utils.parametrize.remove_parametrizations first"
    replaced = _replaced_methods(module)
    if replaced or getattr(module, "_compiled_call_impl", None) is not None:
        return f"has a replaced {replaced[0] if replaced else 'call'}"
    flaws = ((name, tensor_flaw(value)) for name, value in _held_tensors(module).items())
    return next((f"holds {name} {flaw}" for name, flaw in flaws if flaw is not None), None)


def _replaced_methods(module: nn.Module) -> list[str]:
    """Instance attributes that stand before a method or property of the class; Python looks ``__names__`` up there."""
    names = [name for name in vars(module) if not name.startswith("__") or name == "__call__"]
    of_class = {name: getattr(type(module), name, None) for name in names}
    return [name for name, value in of_class.items() if callable(value) or isinstance(value, property)]


def _held_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, buffers and plain attributes: what old weight normalisation and pruning leave behind is the last."""
    registered = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return {**dict(registered), **{name: value for name, value in vars(module).items() if isinstance(value, Tensor)}}


def inconsistency(
    layers: Sequence[Operator],
    buffers: Mapping[str, Tensor],
    dtype: torch.dtype,
    input_shape: Shape,
    shapes: Sequence[Shape],
) -> str | None:
    """Where operators, buffers and recorded shapes are no longer those of one plain network; None where they are.

    ``shapes``: the input shape of every layer, and the last one's output shape.
    """
    if [type(layer) is Head for layer in layers] != [False] * (len(layers) - 1) + [True]:
        return "does not end in its only head"
    held: dict[str, Tensor] = {}
    for index, layer in enumerate(layers):
        if not is_unaltered(layer):
            return f"has a foreign or altered operator, layer {index} ({type(layer).__name__})"
        held.update({buffer_name(index, name): value for name, value in layer.tensors().items()})
    exchanged = [name for name in {**held, **buffers} if held.get(name) is not buffers.get(name)]
    if exchanged:
        return f"runs other weights than its buffer {exchanged[0]}"
    device = list(held.values())[-1].device  # the head's
    moved = [name for name, value in held.items() if value.dtype != dtype or value.device != device]
    if moved:
        return f"holds {moved[0]} in another dtype or on another device than the rest"
    try:
        found = trace_shapes([layer.with_tensors({}) for layer in layers], input_shape)  # checks the settings again
    except UnsupportedLayerError as error:
        return f"does not fit together any more ({error})"
    return None if found == tuple(shapes) else "has other shapes than it was built with"
