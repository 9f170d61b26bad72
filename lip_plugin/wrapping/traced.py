"""The activation that runs through a module while it is read: a tensor without numbers that notes what is done to it.

Every torch function that meets a `Traced` is handed to its rule instead of being computed. What has no rule is refused,
and so is every question about the values (``if x.max() > 1``): a network whose path depends on them is not one chain of
operators. Nothing of torch is patched, so that other threads are not concerned.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Flatten, Offset, Operator, Reshape, Scale
from lip_plugin.types import Shape
from lip_plugin.wrapping.registry import FUNCTIONS, Rule

BATCH = 7
"""Images in the traced batch: a size that nothing else has, so that a forward that mixes it up is noticed."""

_ASKED = {
    "dim",
    "size",
    "numel",
    "is_floating_point",
    "is_complex",
    "get_device",
    "is_contiguous",
    "ndimension",
    "nelement",
    "is_inference",
}
_READ = {
    "shape",
    "dtype",
    "device",
    "ndim",
    "layout",
    "requires_grad",
    "is_cuda",
    "is_cpu",
    "is_sparse",
    "is_quantized",
}
_QUESTIONS = {"__bool__", "__float__", "__int__", "item", "tolist", "numpy", "__index__", "__contains__", "__format__"}


class NoRuleError(UnsupportedLayerError):
    """A torch function that is none of the known ones; ``function`` is its name."""

    def __init__(self, function: str) -> None:
        super().__init__(f"calls {function}, which has no operator")
        self.function = function


@dataclass(frozen=True)
class Session:
    """What all activations of one trace share; ``sorted`` and ``joined`` hold results by what they are made of.

    ``live``: operators are to hold the module's own tensors, for training, and no device is waited for to look at them.
    ``refused``: what was refused on the way, also where the module's own code went on after that (``except``).
    """

    dtype: torch.dtype
    device: torch.device
    input_shape: Shape
    live: bool = False
    sorted: dict[tuple[Any, ...], Traced] = field(default_factory=dict[tuple[Any, ...], "Traced"])
    joined: dict[tuple[Any, ...], Traced] = field(default_factory=dict[tuple[Any, ...], "Traced"])
    refused: list[Exception] = field(default_factory=list[Exception])

    def held(self, value: Tensor) -> Tensor:
        """A fixed tensor as operators hold it: a copy that shares nothing with the module; live, the tensor itself."""
        return value if self.live else value.detach().clone()


@dataclass
class Memory:
    """What views of one activation share: how often one of them was written to."""

    writes: int = 0


class Traced(Tensor):
    """The activation after ``steps``, whose output has the shape ``settled_shape`` (without batch).

    ``places`` is None, or (B, ...) float64: this tensor's entries as positions in the flattened batch of that output.
    Functions that only move entries act on it, and `settle` finds the operators that do the same.
    ``memory`` is that of everything that may be a view of this; what another of them wrote (``writes`` differ) is not
    seen here, so that this one is refused from then on.
    """

    session: Session
    steps: tuple[Operator, ...]
    settled_shape: Shape
    places: Tensor | None
    memory: Memory
    writes: int
    last: str
    """The function of the classes that ends the network and is left out, softmax or log_softmax; else empty."""
    pieces: list[tuple[Any, Traced]]
    """What was written into it, as long as others are missing."""

    @staticmethod
    def __new__(
        cls: Any, session: Session, steps: tuple[Operator, ...], settled_shape: Shape, places: Tensor | None = None
    ) -> Traced:
        shape = (BATCH, *settled_shape) if places is None else tuple(places.shape)
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            cls, shape, dtype=session.dtype, device=session.device
        )
        made.session, made.steps, made.settled_shape, made.places = session, steps, settled_shape, places
        made.memory, made.writes = Memory(), 0
        made.pieces, made.last = [], ""
        return made

    def __init__(
        self, session: Session, steps: tuple[Operator, ...], settled_shape: Shape, places: Tensor | None = None
    ) -> None:
        super().__init__()

    @property
    def features(self) -> Shape:
        """The shape without batch, after `settle`."""
        return self.settle().settled_shape

    def positions(self) -> Tensor:
        """`places`, also where nothing was moved yet."""
        self._require_current()
        if self.places is not None:
            return self.places
        count = math.prod(self.settled_shape)
        return torch.arange(BATCH * count, dtype=torch.float64, device="cpu").view(BATCH, *self.settled_shape)

    def moved(self, places: Tensor | None) -> Traced:
        """The same activation with its entries moved: a view of it, for all that is known here."""
        made = self.copied(places)
        made.memory, made.writes = self.memory, self.writes
        return made

    def copied(self, places: Tensor | None) -> Traced:
        """The same activation with its entries moved, in memory of its own."""
        return Traced(self.session, self.steps, self.settled_shape, places)

    def ended(self, function: str) -> Traced:
        """The activation after a function that keeps the order of the classes; nothing may follow."""
        settled = self.settle()
        made = Traced(self.session, settled.steps, settled.settled_shape)
        made.last = function
        return made

    def then(self, *operators: Operator) -> Traced:
        """The activation after further operators. Raises UnsupportedLayerError where one does not fit."""
        shape = self.settle().settled_shape
        for operator in operators:
            shape = operator.output_shape(shape)
        return Traced(self.session, (*self.steps, *operators), shape)

    def viewed(self, operator: Operator) -> Traced:
        """The activation after an operator that moves entries, perhaps in the same memory."""
        made = self.then(operator)
        made.memory, made.writes = self.memory, self.writes
        return made

    def settle(self) -> Traced:
        """Itself, its moves turned into operators."""
        self._require_current()
        if self.places is not None:
            from lip_plugin.wrapping.moves import moving_operators  # which knows the rules for moves

            operators = moving_operators(self.places, self.settled_shape)
            self.become(Traced(self.session, self.steps, self.settled_shape).then(*operators))
        return self

    def shifted(self, value: Any) -> Traced:
        """The activation plus fixed numbers that broadcast to it."""
        return self.then(Offset(self._spread(value)))

    def scaled(self, value: Any, *, reciprocal: bool = False) -> Traced:
        """The activation times fixed numbers that broadcast to it, or divided by them."""
        spread = self._spread(value)
        factor = (1.0 / spread.double()).to(spread.dtype) if reciprocal else spread
        if factor.dim() > 1:
            shape = self.features
            return self.then(Flatten(), Scale(factor.flatten()), Reshape(shape))
        return self.then(Scale(factor))

    def held(self, value: Any, what: str) -> Any:
        """A fixed tensor, or None, as operators hold it. Raises as `constant`."""
        return None if constant(value, what) is None else self.session.held(value)

    def _spread(self, value: Any) -> Tensor:
        """Numbers as (), as one per channel (C,), or as one per entry, in the network's dtype."""
        shape, dtype = self.features, self.session.dtype
        given = constant(value, "a summand or factor")
        if not isinstance(given, Tensor):
            return torch.tensor(number(given, "a summand or factor"), dtype=dtype, device=self.session.device)
        if given.dim() and given.dtype != dtype and given.is_floating_point():
            raise UnsupportedLayerError(f"mixes {dtype} activations with {given.dtype} numbers; keep one dtype")
        given = _one_image(self.session.held(given).to(self.session.device, dtype), len(shape))
        try:
            full = given.expand(1, *shape)[0]
        except RuntimeError as error:
            raise UnsupportedLayerError(
                f"joins numbers of shape {tuple(given.shape)} with activations {shape}, batch apart; "
                "give one number, one per channel, or one per entry"
            ) from error
        channels = full if len(shape) < 2 else full[(slice(None), *[slice(1)] * (len(shape) - 1))]
        if not self._repeats(full, channels):
            return full.clone()
        channels = channels.flatten()
        return channels[0].clone() if self._repeats(channels, channels[:1]) else channels.clone()

    def _repeats(self, full: Tensor, part: Tensor) -> bool:
        """Whether ``full`` is its first part over and over: in its numbers, or live as it lies in memory."""
        if not self.session.live:
            return torch.equal(full, part.expand_as(full))
        longer = (axis for axis, sizes in enumerate(zip(full.shape, part.shape, strict=True)) if sizes[0] != sizes[1])
        return all(full.stride(axis) == 0 for axis in longer)

    def _require_current(self) -> None:
        if self.writes != self.memory.writes:
            raise UnsupportedLayerError(
                "goes on with an activation after a view of it was changed in place (or what may be one); "
                "use what the change in place returns, or clone() before it"
            )

    def overwrite(self, other: Traced) -> Traced:
        """What an operation in place does to the tensor it is given; its other views are refused afterwards."""
        if other is not self:
            self.become(other)
            self.memory.writes += 1
            self.writes = self.memory.writes
        return self

    def become(self, other: Traced) -> Traced:
        """Take over another's history."""
        if other.shape != self.shape:
            raise UnsupportedLayerError(
                f"changes the shape {tuple(self.shape)} to {tuple(other.shape)} in place; return the result instead"
            )
        self.steps, self.settled_shape, self.places = other.steps, other.settled_shape, other.places
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = str(getattr(func, "__name__", func))
        read = str(getattr(getattr(func, "__self__", None), "__name__", "")) if name == "__get__" else ""
        if name in _ASKED or read in _READ:
            with torch._C.DisableTorchFunctionSubclass():  # pyright: ignore[reportPrivateUsage]
                return func(*args, **kwargs)
        found = FUNCTIONS.get(func) or FUNCTIONS.get(read)
        try:
            if found is None:
                raise _refusal(read or name)
            ended = next((value.last for value in _activations((args, kwargs)) if value.last), "")
            if ended:
                raise UnsupportedLayerError(
                    f"goes on after {ended}, which is taken only as the end of a network; leave it out there"
                )
            return _applied(found, name, args, kwargs)
        except Exception as error:
            _session((args, kwargs)).refused.append(error)
            raise

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        error = NoRuleError(str(func))  # what reaches a kernel was seen by no rule
        _session((args, kwargs or {})).refused.append(error)
        raise error


def _session(arguments: Any) -> Session:
    return next(_activations(arguments)).session


def _activations(arguments: Any) -> Iterator[Traced]:
    """Those among the arguments of a call, however they are given."""
    return (value for value in pytree.tree_leaves(arguments) if isinstance(value, Traced))


def _refusal(name: str) -> UnsupportedLayerError:
    if name in _QUESTIONS:
        return UnsupportedLayerError(
            "asks for the values of an activation; a network whose path depends on its values is not one chain of "
            "operators: take the branch out"
        )
    return NoRuleError(name)


def _applied(found: Rule, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the rule makes of a call; a call in place changes the tensor it is given."""
    try:
        bound = inspect.signature(found).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise UnsupportedLayerError(f"calls {name} in a way that has no rule ({error})") from error
    if kwargs.get("out") is not None:
        raise UnsupportedLayerError(f"calls {name} with out=, which has no rule; use what it returns")
    in_place = (name.endswith("_") and not name.endswith("__")) or bool(bound.get("inplace")) or name in _AUGMENTED
    if in_place and not (args and isinstance(args[0], Traced)):
        raise UnsupportedLayerError(
            f"calls {name} to change fixed numbers in place by the activation; use what it returns"
        )
    result = found(*args, **kwargs)
    if in_place:
        return args[0].overwrite(result)
    given = isinstance(result, Traced) and any(result is value for value in pytree.tree_leaves((args, kwargs)))
    return result.moved(result.places) if given else result  # an object of its own: it may be changed in place


def _one_image(given: Tensor, dimensions: int) -> Tensor:
    """Numbers that were spread over the traced batch, alike for every image, as those of one image."""
    batch = given.dim() == dimensions + 1 and len(given) == BATCH
    return given[:1] if batch and torch.equal(given, given[:1].expand_as(given)) else given


_AUGMENTED = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__"}


def constant(value: Any, what: str) -> Any:
    """A number or tensor that does not depend on the image. Raises UnsupportedLayerError where it does."""
    if isinstance(value, Traced):
        raise UnsupportedLayerError(f"computes {what} from the image; only fixed numbers are bounded")
    return value


def number(value: Any, what: str) -> float:
    """A finite Python number."""
    if isinstance(constant(value, what), Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UnsupportedLayerError(f"{what} is {value!r}; expected one finite number")
    return float(value)
