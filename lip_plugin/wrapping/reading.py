"""A module's forward, run once on a `Traced` activation: the chain of operators that it is."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Flatten, Reshape, refuse_altered, reparametrised
from lip_plugin.types import Shape
from lip_plugin.wrapping import rules as _rules  # noqa: F401  # pyright: ignore[reportUnusedImport]  registers them
from lip_plugin.wrapping.registry import Rule, module_rule
from lip_plugin.wrapping.remedies import remedy
from lip_plugin.wrapping.traced import NoRuleError, Session, Traced

logger = logging.getLogger(__name__)

_OPAQUE = {
    "RecursiveScriptModule",
    "ScriptModule",
    "TopLevelTracedModule",
    "DataParallel",
    "DistributedDataParallel",
    "OptimizedModule",
}
"""What runs elsewhere than in its forward, or on several devices."""


def read_chain(
    modules: Mapping[str, nn.Module], shape: Shape, *, as_shape: Shape | None = None, live: bool = False
) -> Traced:
    """What modules, by their paths, make of images (B, *shape) one after the other, given to them as (B, *as_shape).

    ``live``: the operators hold the modules' own tensors, and gradients reach them; else copies. That is for modules
    which were found to be readable and compared before (`OwnNetwork.read`): neither is done at every step of training.
    Raises UnsupportedLayerError naming the path of what is refused.
    """
    frozen = [] if live else [name for path, module in modules.items() for name in require_readable(module, path)]
    if frozen:
        logger.warning("%s: computed by a parametrisation, frozen at the current value", ", ".join(frozen))
    dtype, device = _numbers_of(modules.values())
    activation = Traced(Session(dtype, device, shape, live), (), shape)
    if as_shape is not None and as_shape != shape:
        activation = activation.then(Flatten() if len(as_shape) == 1 else Reshape(as_shape))
    for path, module in modules.items():
        activation = _read(module, path, activation)
    return activation


def _read(module: nn.Module, path: str, activation: Traced) -> Traced:
    try:
        with nullcontext() if activation.session.live else _frozen(module, path), _exact_types(module):
            out: Any = module(activation)
            for refusal in activation.session.refused:  # which the module's own code caught
                raise refusal
            return _settled(out)
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(" ".join(_located(error, module, path).split())) from error
    except Exception as error:
        where, part = _innermost(error.__traceback__, module, path)
        if plain_type(part).__module__.startswith("torch."):
            way = remedy(plain_type(part).__name__)
            raise UnsupportedLayerError(f"{path_of(part, where)}, which has no operator; {way}") from error
        raise UnsupportedLayerError(
            f"{where} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            f"{remedy(type(error).__name__)}"
        ) from error


def _settled(out: Any) -> Traced:
    if type(out) is not Traced:
        raise UnsupportedLayerError(
            f"gives a {type(out).__name__}, not one tensor computed from the image; return the logits alone"
        )
    return out.settle()


@contextmanager
def _frozen(module: nn.Module, path: str) -> Generator[None]:
    with torch.no_grad(), unchanged(module, path):
        yield


def require_readable(module: nn.Module, path: str) -> list[str]:
    """Every module in the tree runs what its type says, in eval mode. The weights that are computed when it runs."""
    frozen: list[str] = []
    for name, part in _named(module, path):
        if type(part).__name__ in _OPAQUE:
            raise UnsupportedLayerError(f"{path_of(part, name)}, which has no operator; {remedy(type(part).__name__)}")
        refuse_altered(part, name, reparametrised_allowed=True)
        frozen += [f"{name}.{tensor}" for tensor in reparametrised(part)]
        holes = [key for key, child in part._modules.items() if child is None]  # pyright: ignore[reportPrivateUsage]
        if isinstance(part, nn.Sequential) and holes:
            raise UnsupportedLayerError(f"{name}.{holes[0]} is None; torch cannot run it either")
    return frozen


def path_of(module: nn.Module, path: str) -> str:
    """``features.0 is torch.nn.modules.rnn.LSTM``"""
    kind = plain_type(module)
    return f"{path} is {kind.__module__}.{kind.__qualname__}"


def plain_type(module: nn.Module) -> type[nn.Module]:
    """The class of a module, of a parametrised one that before."""
    kind = type(module)
    return kind.__bases__[0] if parametrize.is_parametrized(module) else kind


def _named(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_modules():
        yield f"{path}.{name}" if name else path, part


def _numbers_of(modules: Iterable[nn.Module]) -> tuple[torch.dtype, torch.device]:
    """Of the first weights; float32 on the CPU where there are none."""
    held: Iterator[Tensor] = (value for one in modules for part in (one.parameters(), one.buffers()) for value in part)
    first = next((value for value in held if value.is_floating_point()), torch.empty(0))
    return first.dtype, first.device


@contextmanager
def _exact_types(module: nn.Module) -> Generator[None]:
    """Modules whose exact type has a rule give the activation to it; given anything else they run as ever."""
    ruled = [(part, found) for part in module.modules() if (found := module_rule(plain_type(part))) is not None]
    try:
        for part, found in ruled:
            vars(part)["forward"] = _by_rule(part, found)
        yield
    finally:
        for part, _ in ruled:
            vars(part).pop("forward", None)


def _by_rule(module: nn.Module, found: Rule) -> Any:
    def forward(*arguments: Any, **settings: Any) -> Any:
        self = module  # where an error is located
        if arguments and isinstance(arguments[0], Traced):
            return found(self, *arguments, **settings)
        return type(self).forward(self, *arguments, **settings)

    return forward


@contextmanager
def unchanged(module: nn.Module, path: str) -> Generator[None]:
    """Raises UnsupportedLayerError where the module is another one afterwards.

    What a module whose exact type has a rule keeps for itself, its parametrisations included, is the rule's to know.
    """
    before = {name: _state(part) for name, part in _watched(module, path)}
    yield
    for name, part in _watched(module, path):
        found = _state(part)
        changed = [key for key in {**found, **before.get(name, {})} if found.get(key) != before.get(name, {}).get(key)]
        if changed:
            raise UnsupportedLayerError(
                f"{name} ({type(part).__name__}) changes its {changed[0]} when it runs; what it computes may depend on "
                "that: take it out of the forward"
            )


def _watched(module: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    """The modules in the tree, by path, whose state must stay."""
    ruled = [part for part in module.modules() if module_rule(plain_type(part)) is not None]
    held: list[Any] = [part.parametrizations for part in ruled if parametrize.is_parametrized(part)]
    known = {id(part) for part in ruled} | {id(part) for one in held for part in one.modules()}
    return [(name, part) for name, part in _named(module, path) if id(part) not in known]


def _state(module: nn.Module) -> dict[str, object]:
    """What a forward might change: attributes by identity, small ones by value, tensors by their version.

    Lists, dictionaries and sets with what is in them.
    """
    rewritten = {"forward", *reparametrised(module)}
    state: dict[str, object] = {}
    for holder in (vars(module), module._parameters, module._buffers, module._modules):  # pyright: ignore[reportPrivateUsage]
        for key, value in holder.items():
            if key in rewritten:
                continue
            state[key] = _content(value, 0 if key in _REGISTERS else 4)
    return state


_REGISTERS = {"_parameters", "_buffers", "_modules"}
"""What is in them is gone through by name."""


def _content(value: Any, depth: int) -> tuple[object, ...]:
    if isinstance(value, Tensor):
        return id(value), -1 if value.is_inference() else value._version  # pyright: ignore[reportPrivateUsage]
    if isinstance(value, bool | int | float | str):
        return (value,)
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = [*value, *value.values()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif isinstance(value, list | tuple | set | deque):
        inside = list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return id(value), *(_content(item, depth - 1) for item in inside if depth)  # pyright: ignore[reportUnknownArgumentType]


def _innermost(trace: TracebackType | None, module: nn.Module, path: str) -> tuple[str, nn.Module]:
    """The path of the module in whose code an error arose."""
    names = {id(part): name for name, part in reversed(list(_named(module, path)))}
    found = module
    while trace is not None:
        part = trace.tb_frame.f_locals.get("self")
        if isinstance(part, nn.Module) and id(part) in names:
            found = part
        trace = trace.tb_next
    return names[id(found)], found


def _located(error: UnsupportedLayerError, module: nn.Module, path: str) -> str:
    """One line: which module, what it does, what to do instead."""
    where, part = _innermost(error.__traceback__, module, path)
    if not isinstance(error, NoRuleError):
        return str(error) if str(error).startswith(where) else f"{where}: {error}"
    kind = plain_type(part)
    if kind.__module__.startswith("torch.") or module_rule(kind) is not None:
        return f"{path_of(part, where)}, which has no operator; {remedy(kind.__name__, error.function)}"
    return f"{where} ({kind.__name__}) {error}; {remedy(error.function, kind.__name__)}"
