"""The plain network: what predicts, is attacked, saved, proved, shipped and re-checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError, DataError, UnsupportedLayerError
from lip_plugin.files import complete_directory
from lip_plugin.network.description import Measured, description
from lip_plugin.network.forms import way_to_model
from lip_plugin.network.integrity import alteration, inconsistency
from lip_plugin.network.kinds import all_operators, foreign_operators, is_known
from lip_plugin.network.operators import Head, Operator
from lip_plugin.network.operators.digest import is_same, network_digest
from lip_plugin.network.plain import tensor_flaw
from lip_plugin.network.record import write_network
from lip_plugin.network.shapes import buffer_name, trace_shapes
from lip_plugin.schema.provenance import Provenance
from lip_plugin.types import ImageShape, Shape

UNNAMED = "unnamed"

_OF_TORCH = ("training", "_is_torch_compile")
"""What torch sets on any module, and nothing that computes reads."""


class CertifiedClassifier(nn.Module):
    """An immutable list of known operators that ends in a linear head.

    x (B, C, H, W) in [0,1] -> logits (B, K), differentiable in x. Weights are buffers, so the module
    moves between devices; it keeps its dtype, takes no gradients, has no training behaviour, and
    refuses assignment and `load_state_dict`. Build one with `lp.freeze`, `lp.wrap`,
    `lp.from_published` or `lp.load_model`.
    """

    _name: str
    _input_shape: ImageShape
    _dtype: torch.dtype
    _shapes: tuple[Shape, ...]
    _layers: tuple[Operator, ...]

    def __init__(
        self, operators: Sequence[Operator], head: Head, *, input_shape: ImageShape, name: str = UNNAMED
    ) -> None:
        super().__init__()
        if type(head) is not Head:
            raise UnsupportedLayerError(f"the head must be a linear Head, got {type(head).__name__}")
        layers = (*operators, head)
        unknown = [type(layer).__name__ for layer in layers if not is_known(layer)]
        if unknown:
            raise UnsupportedLayerError(f"{unknown[0]} is not a known operator (exact types only)")
        _require_plain_weights(layers)
        dtype = _common_dtype(layers)
        _require_finite_settings(layers, dtype)
        shapes = trace_shapes(layers, input_shape)
        if shapes[-1][0] < 2:
            raise UnsupportedLayerError(f"a classifier needs at least 2 classes, the head has {shapes[-1][0]}")
        state = self.__dict__
        state["_name"] = name
        state["_input_shape"], state["_dtype"], state["_shapes"] = shapes[0], dtype, shapes
        for index, layer in enumerate(layers):
            for name, value in layer.tensors().items():
                own = value.detach().clone(memory_format=torch.contiguous_format)  # as it is after save and load
                self.register_buffer(buffer_name(index, name), own)
        state["_layers"] = self._bind(layers)
        self.eval()

    def _bind(self, layers: Sequence[Operator]) -> tuple[Operator, ...]:
        """The same operators over this module's buffers."""
        return tuple(
            layer.with_tensors({name: self.get_buffer(buffer_name(index, name)) for name in layer.tensors()})
            for index, layer in enumerate(layers)
        )

    # -- the function -----------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):  # a frozen network computes in its own dtype
            with torch.autocast(x.device.type, enabled=False):
                return self.forward(x)
        return self.head.apply(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D). Raises DataError on another shape or dtype."""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.features(x)
        if x.shape[1:] != self._input_shape or x.dtype != self._dtype:
            raise DataError(
                f"input is {x.dtype} of shape {tuple(x.shape)}; expected {self._dtype} of shape "
                f"(B, {', '.join(map(str, self._input_shape))}) with pixels in [0,1]"
            )
        for operator in self.operators:
            x = operator.apply(x)
        return x

    # -- what it is -------------------------------------------------------------------------------

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators of the feature path, the head not included."""
        return self._layers[:-1]

    @property
    def head(self) -> Head:
        head = self._layers[-1]
        assert isinstance(head, Head)
        return head

    @property
    def layers(self) -> tuple[Operator, ...]:
        """`operators` and the head."""
        return self._layers

    @property
    def layer_input_shapes(self) -> tuple[Shape, ...]:
        """The input shape (without batch) of every layer."""
        return self._shapes[:-1]

    @property
    def head_weight(self) -> Tensor:
        """(K, D)"""
        return self.head.weight

    @property
    def head_bias(self) -> Tensor:
        """(K,); zeros where the head has none."""
        bias = self.head.bias
        return self.head.weight.new_zeros(self.num_classes) if bias is None else bias

    @property
    def name(self) -> str:
        """What its card calls it; "unnamed" before it has one. No part of the digest."""
        return self._name

    @property
    def input_shape(self) -> ImageShape:
        return self._input_shape

    @property
    def num_classes(self) -> int:
        return self._shapes[-1][0]

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def num_parameters(self) -> int:
        return sum(buffer.numel() for buffer in self.buffers())

    @property
    def foreign_operators(self) -> tuple[str, ...]:
        """Operators that other packages brought, as ``kind (module.Class)``: their bounds are trusted, not ours."""
        return foreign_operators(self._layers)

    @property
    def digest(self) -> str:
        """sha256 of operators, weights, input shape and dtype; computed anew at every call."""
        return network_digest(self._layers, self._input_shape, self._dtype)

    def is_as(self, other: CertifiedClassifier) -> bool:
        """Whether both have one digest, and are in one place; told by comparing, which is quicker than hashing."""
        alike = (self._input_shape, self._dtype, self.device) == (other._input_shape, other._dtype, other.device)
        return alike and len(self._layers) == len(other._layers) and all(map(is_same, self._layers, other._layers))

    def copied(self) -> CertifiedClassifier:
        """The same network over weights of its own, which later writes to this one do not reach."""
        return CertifiedClassifier(self.operators, self.head, input_shape=self._input_shape, name=self._name)

    def save(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        dataset: str | None = None,
        class_names: Sequence[str] = (),
        card: Provenance | None = None,
        report: Measured | None = None,
    ) -> None:
        """Write a new model directory, ``model.safetensors`` and ``card.json``; `lp.load_model` rebuilds it.

        It appears under its name only when complete. ``name`` is the model's, the directory's where it is None;
        ``dataset`` names what it was trained for, and ``card`` says where it comes from. ``class_names`` are those of
        own images, in the order of the labels: they number the folders of a later evaluation. ``report``, that of
        `lp.compare` on this network, gives the card its measured figures and radii. Raises ConfigError for a name, for
        the report of another network, and as `require_unaltered` and `network.record.write_network`.
        """
        require_unaltered(self)
        called = name or Path(directory).name
        said = description(self, called, dataset=dataset, class_names=class_names, card=card, report=report)
        with complete_directory(Path(directory)) as partial:
            write_network(self, partial, said)

    # -- what it refuses --------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CertifiedClassifier:
        probe = fn(torch.empty(0, dtype=self._dtype, device=self.device))
        if probe.device.type == "meta":
            raise ConfigError("a frozen network has weights; it cannot move to device 'meta'")
        if probe.dtype != self._dtype:
            raise ConfigError(
                f"a frozen network keeps its dtype {self._dtype}, got a cast to {probe.dtype}; "
                "cast the trainable model before lp.freeze"
            )
        super()._apply(lambda tensor: fn(tensor).contiguous(), recurse)  # another layout would take another kernel
        self.__dict__["_layers"] = self._bind(self._layers)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> NoReturn:
        raise ConfigError("a frozen network cannot load other weights; freeze or load another one")

    def _load_from_state_dict(self, *arguments: Any, **settings: Any) -> NoReturn:
        # Reached through a parent module's load_state_dict.
        raise ConfigError("a frozen network cannot load other weights; freeze or load another one")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OF_TORCH and "_layers" in self.__dict__:
            raise ConfigError(f"a frozen network is immutable; cannot set {name!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise ConfigError(f"a frozen network is immutable; cannot delete {name!r}")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        if "_layers" in self.__dict__:
            raise ConfigError(f"a frozen network is immutable; cannot register {name!r}")
        super().register_buffer(name, tensor, persistent)

    def to_empty(self, *, device: Any, recurse: bool = True) -> NoReturn:
        raise ConfigError("a frozen network without its weights is nothing; use .to(device)")

    def extra_repr(self) -> str:
        """One line, however many operators: how often each kind occurs, in the order in which they appear."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(layer.kind for layer in self._layers).items())
        size = f"{self.num_parameters:,} parameters in {str(self._dtype).removeprefix('torch.')}"
        return f"{self._name}: {self._input_shape} -> {self.num_classes} classes, {size}: {kinds}"


def require_unaltered(model: nn.Module) -> None:
    """Raise ConfigError unless ``model(x)`` is what the operators of a plain network compute."""
    if type(model) is not CertifiedClassifier:
        raise ConfigError(f"{type(model).__name__} is not a CertifiedClassifier (exact type); {way_to_model(model)}")
    recorded = (*model.layer_input_shapes, (model.num_classes,))
    reason = alteration(model) or inconsistency(
        model.layers, dict(model.named_buffers()), model.dtype, model.input_shape, recorded
    )
    if reason is not None:
        raise ConfigError(f"this CertifiedClassifier {reason}; what runs would not be what is certified")


def _require_plain_weights(layers: Sequence[Operator]) -> None:
    for index, layer in enumerate(layers):
        for name, value in layer.tensors().items():
            flaw = tensor_flaw(value)
            if flaw is not None:
                raise UnsupportedLayerError(f"layer {index} ({layer.kind}): {name} is a tensor {flaw}; give plain ones")


def _common_dtype(layers: Sequence[Operator]) -> torch.dtype:
    dtypes = {value.dtype for layer in layers for value in layer.tensors().values()}
    if len(dtypes) != 1:
        raise UnsupportedLayerError(f"all weights must share one dtype, got {sorted(map(str, dtypes))}")
    (dtype,) = dtypes
    if dtype not in (torch.float32, torch.float64):
        raise UnsupportedLayerError(f"networks are float32 or float64, got {dtype}")
    return dtype


def _require_finite_settings(layers: Sequence[Operator], dtype: torch.dtype) -> None:
    """A slope of 1e39 is a float64, and infinite where a float32 network computes with it."""
    largest = torch.finfo(dtype).max
    for index, layer in enumerate(layers):
        settings = [(name, value) for one in all_operators([layer]) for name, value in one.settings().items()]
        for name, value in settings:
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, int | float) and not abs(number) <= largest for number in numbers):
                raise UnsupportedLayerError(
                    f"layer {index} ({layer.kind}): {name} {value} is not finite in {dtype}, the network's dtype"
                )
