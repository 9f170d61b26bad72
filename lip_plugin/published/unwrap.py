"""Where in a training checkpoint the weights of a network are: nested dicts, prefixes, counters, copies.

    {"epoch": 3, "model": {"module.stem.0.weight": ...}}     -> {"stem.0.weight": ...}
    {"backbone": {"stem.0.weight": ...}, "head": {"weight": ...}}  -> {"stem.0.weight": ..., "head.weight": ...}

A state dict counts as one of the implementation that is asked for where it has the keys that every such state
dict has. One that is found is taken; several that differ are refused by name, and a key chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError, close_matches
from lip_plugin.published.entries import check_entries
from lip_plugin.untrusted import few, printable

_DEEPEST = 4
_MOST = 1000
"""Nested dicts that are looked at: a checkpoint of a few bytes can refer to itself."""
_WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into a key, wherever they were applied."""


def unwrapped(checkpoint: object, needed: Sequence[str], *, key: str | None = None) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint, under the implementation's own keys; checked by `check_entries`.

    ``key`` names the entry, or the prefix, where there are several: ``ema``, or ``state.ema`` further inside.
    Raises CheckpointError that names what was found, ConfigError for a key that is not there.
    """
    place = "" if key is None else key
    inside, chosen = (checkpoint, None) if key is None else _at(checkpoint, key)
    container = _mapping(inside)
    if container is None:
        raise CheckpointError(f"the state dict is a {type(inside).__name__}; expected tensors under names")
    found: dict[str, Mapping[str, Any]] = {}
    for path, state in _candidates(container, place, needed, chosen):
        check_entries(state)
        if not any(_same(state, other) for other in found.values()):
            found[path] = state
    if len(found) > 1:
        names = [path or "the outermost" for path in found]
        way = next(path for path in found if path)
        raise CheckpointError(
            f"the checkpoint holds {len(found)} networks that differ, {few(names)}; give the key of one of them, "
            f"for example key={printable(way, longest=80)!r} (lip convert: --key {printable(way, longest=80)})"
        )
    for state in found.values():
        return state
    return _as_it_is(container, needed)


def _as_it_is(container: Mapping[Any, Any], needed: Sequence[str]) -> Mapping[str, Tensor]:
    """Tensors under names in which keys are missing: the converter says which."""
    if any(isinstance(value, Tensor) for value in container.values()):
        state = _without_wrappers({key: value for key, value in container.items() if not _beside(key, value)})
        check_entries(state)
        return state
    raise CheckpointError(
        f"no entry of the checkpoint holds the network's weights: expected tensors under names such as {few(needed)}, "
        f"found the entries {few(map(str, container))}; pass the state dict itself or give its key"
    )


def _mapping(value: object) -> Mapping[Any, Any] | None:
    """A list counts as entries under 0, 1, ..."""
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value)
    entries = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
    if any(isinstance(entry, Mapping) for entry in entries):
        return {str(index): entry for index, entry in enumerate(entries)}
    return None


def _at(checkpoint: object, key: str) -> tuple[object, str | None]:
    """The entry under a key, or the container and the prefix that the key is in it. Raises ConfigError."""
    container = _mapping(checkpoint)
    names = [str(name) for name in container or ()]
    if container is not None and key in names:
        return container[key], None
    for name in names if container is not None else ():
        if key.startswith(name + ".") and container is not None and _mapping(container[name]) is not None:
            return _at(container[name], key.removeprefix(name + "."))
    prefix = key.removesuffix(".") + "."
    if any(name.startswith(prefix) for name in names):
        return checkpoint, prefix
    shown = printable(key, longest=80)
    raise ConfigError(f"the checkpoint has no key {shown!r};{close_matches(key, names)} it has {few(names)}")


def _candidates(
    container: Mapping[Any, Any], path: str, needed: Sequence[str], chosen: str | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, state dict) of everything that has the keys that are needed, outermost first."""
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [(path, container, 0)]
    for place, current, depth in waiting:  # which grows
        if len(waiting) > _MOST:
            raise CheckpointError(f"the checkpoint nests more than {_MOST} dicts; pass the state dict or give its key")
        direct = list(_by_prefix(current, needed, chosen))
        yield from ((_joined(place, prefix.rstrip(".")), state) for prefix, state in direct)
        merged = None if direct else _merged(current, needed)
        if merged is not None:
            yield place, merged
        if depth < _DEEPEST:  # a copy may be further inside
            inner = ((name, _mapping(value)) for name, value in current.items() if isinstance(name, str))
            waiting += [(_joined(place, name), value, depth + 1) for name, value in inner if value is not None]


def _joined(place: str, name: str) -> str:
    return ".".join(part for part in (place, name) if part)


def _by_prefix(
    container: Mapping[Any, Any], needed: Sequence[str], chosen: str | None
) -> Iterator[tuple[str, dict[Any, Any]]]:
    """(prefix, state dict) for every prefix under which the needed keys are."""
    entries = _without_wrappers({key: value for key, value in container.items() if not _beside(key, value)})
    names = [key for key in entries if isinstance(key, str)]
    first = needed[0]
    prefixes = [name.removesuffix(first) for name in names if name == first or name.endswith("." + first)]
    complete = [prefix for prefix in prefixes if all(prefix + key in entries for key in needed)]
    if chosen is not None:
        wanted = ".".join(part for part in chosen.split(".") if part not in _WRAPPERS)
        complete = [prefix for prefix in complete if prefix == wanted]
    rest = [key for key in entries if not (isinstance(key, str) and key.startswith(tuple(complete)))]
    if complete and rest and chosen is None:
        raise CheckpointError(
            f"the state dict has unexpected keys ({few(map(str, rest))}) beside those under {few(complete)}; "
            "pass only the latter, or give key"
        )
    for prefix in complete:
        inner = tuple(other for other in complete if other != prefix and other.startswith(prefix))
        own = [key for key in names if key.startswith(prefix) and not (inner and key.startswith(inner))]
        yield prefix, {key.removeprefix(prefix): entries[key] for key in own}


def _beside(key: object, value: object) -> bool:
    """What trainers keep beside weights and no weight is: counters, and plain values or dicts under a single word."""
    if isinstance(value, Tensor):
        return value.dim() == 0 and not value.is_floating_point() and not value.is_complex()
    return isinstance(key, str) and "." not in key


def _without_wrappers(entries: Mapping[Any, Any]) -> dict[Any, Any]:
    """Keys without the words of DataParallel and torch.compile. Raises CheckpointError where two become one."""
    renamed: dict[Any, Any] = {}
    origin: dict[Any, Any] = {}
    for key, value in entries.items():
        parts = key.split(".") if isinstance(key, str) else []
        short = ".".join(part for part in parts if part not in _WRAPPERS) if parts else key
        if short in renamed:
            raise CheckpointError(
                f"the state dict has unexpected keys: {few([str(origin[short]), str(key)])} stand for the same weight; "
                "pass the entries of one network"
            )
        renamed[short], origin[short] = value, key
    return renamed


def _merged(container: Mapping[Any, Any], needed: Sequence[str]) -> dict[Any, Any] | None:
    """A network that was saved in parts, ``{"backbone": {...}, "head": {...}}``; None where these are no parts.

    A part's keys stand as they are where the needed ones do so, else under the part's name.
    """
    parts = {str(name): _without_wrappers(inner) for name, value in container.items() if (inner := _tensors(value))}
    if any(all(key in part for key in needed) for part in parts.values()):
        return None  # whole networks
    state: dict[Any, Any] = {}
    for name, part in parts.items():
        bare = any(key in part for key in needed)
        named = any(f"{name}.{key}" in needed for key in part)
        if bare == named:
            continue  # an optimiser, or a part that is of something else
        for key, value in part.items():
            own = key if bare else f"{name}.{key}"
            if own in state:
                return None
            state[own] = value
    return state if all(key in state for key in needed) else None


def _tensors(value: object) -> dict[Any, Any]:
    """The entries of a nested state dict; empty for anything else."""
    inner = value if isinstance(value, Mapping) else {}
    if not any(isinstance(entry, Tensor) for entry in inner.values()):
        return {}
    return {key: entry for key, entry in inner.items() if not _beside(key, entry)}


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        value.dtype == b[key].dtype and value.shape == b[key].shape and torch.equal(value.cpu(), b[key].cpu())
        for key, value in a.items()
    )
