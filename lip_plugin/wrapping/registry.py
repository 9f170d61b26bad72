"""The rules: what a torch function, or a module of another library, becomes.

A rule is one function, registered for the exact functions or module types that it stands for. It takes what they take,
with a `Traced` in the place of the activation, and gives a `Traced`.

    @rule("relu")                                   # torch.relu, Tensor.relu, F.relu and their in-place forms
    def _relu(input: Traced, inplace: bool = False) -> Traced:
        return input.then(Activation("relu"))

    @rule(deel.torchlip.MaxMin)                     # an exact type: its forward is not looked at
    def _max_min(module: MaxMin, input: Traced) -> Traced: ...

Weights are taken by ``input.held(weight, "a weight")``: a copy, or in training the tensor itself, for its gradient.

Rules for the modules of a library are loaded when a module of it turns up: the entry-point group ``lip_plugin.rules``
names, by the library's import package, the module whose import registers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.plugins import PluginGroup

Rule: TypeAlias = Callable[..., Any]
R_ = TypeVar("R_", bound=Rule)

RULES = PluginGroup("lip_plugin.rules", "rule set for layers")
FUNCTIONS: dict[object, Rule] = {}
"""By the function object that torch hands to ``__torch_function__``."""
MODULES: dict[type[nn.Module], Rule] = {}
"""By exact type."""

_loaded: set[str] = set()


def rule(*targets: str | type[nn.Module] | Callable[..., Any]) -> Callable[[R_], R_]:
    """Register a function as the rule of functions by name, of function objects, or of exact module types."""

    def register(function: R_) -> R_:
        for target in targets:
            if isinstance(target, type):
                _add(MODULES, target, function)
            else:
                for found in functions_named(target) if isinstance(target, str) else [target]:
                    _add(FUNCTIONS, found, function)
        return function

    return register


def functions_named(name: str) -> list[Callable[..., Any]]:
    """Everything of this name, in-place forms included, that torch has as a function or a method of tensors."""
    places = (torch, F, Tensor)
    found = [getattr(place, form, None) for place in places for form in (name, name + "_")]
    return list({id(function): function for function in found if callable(function)}.values())


def module_rule(kind: type[nn.Module]) -> Rule | None:
    """The rule of an exact module type; imports its library's rules first. Raises as `PluginGroup.load`."""
    library = kind.__module__.partition(".")[0]
    if library not in _loaded:
        if library in RULES.names():
            RULES.load(library)
        _loaded.add(library)
    return MODULES.get(kind)


def _add(rules: dict[Any, Rule], target: Any, function: Rule) -> None:
    if rules.get(target, function) is not function:
        raise ValueError(f"{target} has a rule already")
    rules[target] = function
