"""`lp.wrap`: a user's own torch network as a plain network of known operators."""

from __future__ import annotations

import copy
import logging
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import (
    UNNAMED,
    CertifiedClassifier,
    Head,
    Operator,
    require_agreement,
    require_same_function,
    way_to_module,
)
from lip_plugin.types import ImageShape, Shape
from lip_plugin.wrapping.folding import padded_by_themselves
from lip_plugin.wrapping.heads import with_head
from lip_plugin.wrapping.reading import plain_type, read_chain, require_readable, unchanged
from lip_plugin.wrapping.remedies import REMEDIES, remedy

logger = logging.getLogger(__name__)


def wrap(
    module: nn.Module, head: nn.Linear | None = None, *, input_shape: Shape, name: str = UNNAMED
) -> CertifiedClassifier:
    """Freeze a user's own network, x (B, C, H, W) in [0,1] -> logits (B, K).

    ``module`` is the whole network, whose last linear layer becomes the head, or the features before ``head``. Its
    forward is run once on an activation without numbers, through any containers, methods and functions of torch; it
    must be one chain of known operations (docs/layers.md), in eval mode, without hooks or replaced forwards.
    Parametrised weights are frozen at their current value. Put any input normalisation inside ``module``. One logit
    is taken as the classes 0 and 1; softmax or log_softmax at the end is left out, and a line says so. Weights are
    copied; later changes to the module do not reach the frozen network, which is compared with the module on random
    images. A module of vectors (B, D) or rows (B, C, L) is given as ``input_shape=(D,)`` or ``(C, L)``; its frozen
    network takes images (B, D, 1, 1) or (B, C, 1, L). ``name`` is what its reports call it.

        lp.wrap(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval(), input_shape=(1, 28, 28))

    Raises UnsupportedLayerError naming the module's path and what to do instead.
    """
    network = OwnNetwork.of(module, head, input_shape)
    if len(network.given_shape) < 3:
        logger.warning(
            "input_shape %s: the frozen network takes images (B, %d, %d, %d)", network.given_shape, *network.shape
        )
    classifier, last = network.read(name=name)
    if last:
        logger.warning("%s ends in %s, which is left out: the frozen network gives logits", network.name, last)
    return classifier


@dataclass(frozen=True)
class OwnNetwork:
    """A user's network as it is given: modules by the names that errors call them, and what the first one takes."""

    modules: dict[str, nn.Module]
    given_shape: Shape

    @classmethod
    def of(cls, module: nn.Module, head: nn.Linear | None, input_shape: Shape) -> OwnNetwork:
        """Raises UnsupportedLayerError where one of them is none."""
        given: dict[str, Any] = {"module": module} if head is None else {"features": module, "head": head}
        for what, value in given.items():
            if not isinstance(value, nn.Module):
                raise UnsupportedLayerError(
                    f"{what} is {type(value).__name__}; expected a torch module: {way_to_module(value)}"
                )
        shape = _given_shape(input_shape)
        _require_linear(head)
        return cls(given, shape)

    @property
    def name(self) -> str:
        return next(iter(self.modules))

    @property
    def shape(self) -> ImageShape:
        """Of the images that stand for what it takes: (C, 1, L) for rows and (D, 1, 1) for vectors."""
        sizes = self.given_shape
        channels, height, width = sizes if len(sizes) == 3 else (sizes[0], 1, *(sizes[1:] or (1,)))
        return channels, height, width

    def layers(self, *, live: bool = False) -> tuple[tuple[Operator, ...], Head, str]:
        """Features, head, and the function of the classes that is left out at the end; ``live`` as for `read_chain`."""
        chain = read_chain(self.modules, self.shape, as_shape=self.given_shape, live=live)
        return *with_head(chain.steps, self.shape), chain.last

    def read(self, *, live: bool = False, name: str = UNNAMED) -> tuple[CertifiedClassifier, str]:
        """The frozen network, compared with the module, and what is left out at its end."""
        for path, module in self.modules.items() if live else ():
            require_readable(module, path)
        features, head, last = self.layers(live=live)
        if live:
            features, head = [one.map_tensors(_copy) for one in features], head.map_tensors(_copy)
        classifier = CertifiedClassifier(features, head, input_shape=self.shape, name=name)
        with warnings.catch_warnings():  # what the module warns of is not news here
            warnings.simplefilter("ignore")
            self._compare(classifier, _AFTER[last])
        return classifier, last

    def _compare(self, classifier: CertifiedClassifier, after: Callable[[Tensor], Tensor]) -> None:
        """On random images, in float64 where the modules have a copy of their own to widen."""
        name, shape = self.name, self.given_shape
        whole = nn.Sequential(*self.modules.values())
        with unchanged(self.modules[name], name), _no_randomness(name):
            require_same_function(name, _logits(whole, shape), classifier, dtype=classifier.dtype, after=after)
        if classifier.dtype == torch.float64:
            return
        try:
            wide = copy.deepcopy(whole).double()
            with torch.no_grad():
                wide(torch.zeros(1, *shape, dtype=torch.float64, device=classifier.device))
        except Exception:  # no copy, or one that keeps to float32: the comparison above stands
            return
        require_same_function(name, _logits(wide, shape), classifier, dtype=torch.float64, after=after)


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone()


def operators_of(module: nn.Module, path: str, shape: Shape) -> tuple[Operator, ...]:
    """The operators of a module on activations of ``shape``, in their order, compared with it. Raises as `wrap`."""
    chain = read_chain({path: module}, shape)
    if chain.last:
        raise UnsupportedLayerError(f"{path} ends in {chain.last}; {remedy(chain.last)}")
    operators, session = padded_by_themselves(chain.steps), chain.session

    def read(x: Tensor) -> Tensor:
        return reduce(lambda value, operator: operator.apply(value), operators, x)

    with warnings.catch_warnings(), unchanged(module, path), _no_randomness(path):
        warnings.simplefilter("ignore")
        require_agreement(path, module, read, shape=shape, dtype=session.dtype, device=session.device)
    return operators


def _given_shape(input_shape: Any) -> Shape:
    """What the module takes: (C, H, W), a row's (C, L) or a vector's (D,)."""
    sizes: Any = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if 1 <= len(sizes) <= 3 and all(type(size) is int and size >= 1 for size in sizes):
        return sizes
    way = ""
    if type(input_shape) is int:
        way = f"; for vectors give ({input_shape},)"
    elif len(sizes) == 4:
        way = f"; leave out the batch: {sizes[1:]}"
    shown = " ".join(repr(input_shape).split())[:80]
    raise UnsupportedLayerError(
        f"input_shape must be (C, H, W) of positive integers, (C, L) for rows or (D,) for vectors, got {shown}{way}"
    )


def _require_linear(head: nn.Linear | None) -> None:
    if head is not None and plain_type(head) is not nn.Linear:
        way = f"; {remedy(plain_type(head).__name__)}" if plain_type(head).__name__ in REMEDIES else ""
        raise UnsupportedLayerError(f"head is {plain_type(head).__name__}; expected torch.nn.Linear exactly{way}")


_AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda logits: logits,
    "softmax": lambda logits: logits.softmax(1),
    "log_softmax": lambda logits: logits.log_softmax(1),
}
"""What the module does to its logits at the end, by the function's name."""


def _logits(module: nn.Module, shape: Shape) -> Callable[[Tensor], Tensor]:
    """(B, K) of images, also of modules that take ``shape``, that give one logit, or (B, K, 1, 1)."""

    def run(x: Tensor) -> Tensor:
        out: Tensor = module(x.reshape(-1, *shape))
        flat = out.reshape(len(x), -1)
        return torch.cat([torch.zeros_like(flat), flat], dim=1) if flat.shape[1] == 1 else flat

    return run


class _no_randomness:
    """Raises UnsupportedLayerError where the block drew random numbers."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._before = self._states()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Also where the block failed because of them: two runs then differ."""
        expected = kind is None or issubclass(kind, UnsupportedLayerError)
        if expected and self._states() != self._before:
            raise UnsupportedLayerError(
                f"{self._name} draws random numbers when it runs; a certificate speaks of one function: take them out"
            )

    @staticmethod
    def _states() -> tuple[object, ...]:
        of_numpy = np.random.get_state(legacy=False)
        return bytes(torch.get_rng_state().numpy()), random.getstate(), repr(of_numpy)
