"""Modules given to `lp.wrap` and `lp.freeze`: leftovers of normalisation and pruning, odd weights, foreign classes.

Either they are refused, or the frozen network is the function that torch runs, and its certificate is true of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import lip_plugin as lp

from .closed_form import SHAPE, Numbers, ask, assert_runs, assert_true, images, modules, network, numbers

Alter = Callable[[nn.Module], object]


def wrapped(alter_conv: Alter, alter_head: Alter | None = None) -> tuple[lp.CertifiedClassifier, Numbers]:
    """The frozen network of altered modules, and the numbers that torch's own forward reads from them.

    That torch really computes with these numbers is checked here, through its forward.
    """
    features, head = modules(numbers())
    alter_conv(features[0])
    if alter_head is not None:
        alter_head(head)
    features.eval()
    head.eval()
    model = lp.wrap(features, head, input_shape=SHAPE)
    read = {"00": features[0], "03": head}
    given = {
        f"{index}_{name}": np.asarray(getattr(module, name).tolist())
        for index, module in read.items()
        for name in ("weight", "bias")
    }
    assert np.allclose(head(features(images())).detach().numpy(), model(images()).numpy(), atol=1e-6)
    return model, given


def _pruned_by_hand(module: nn.Module) -> None:
    """Hooks gone, so that ``weight`` stays as it was while ``weight_orig`` moves on."""
    prune.l1_unstructured(module, "weight", amount=0.5)
    module._forward_pre_hooks.clear()  # pyright: ignore[reportPrivateUsage]
    module.get_parameter("weight_orig").data.fill_(7.0)


def _pruned(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", amount=0.5)
    prune.remove(module, "weight")


def _normed_and_removed(normalise: Any, remove: Any) -> Alter:
    def alter(module: nn.Module) -> None:
        normalise(module)
        for parameter in module.parameters():
            parameter.data.mul_(1.5)
        module(images() if isinstance(module, nn.Conv2d) else torch.ones(1, 8))
        remove(module)

    return alter


def _normed_and_hooks_cleared(module: nn.Module) -> None:
    nn.utils.weight_norm(module)
    module._forward_pre_hooks.clear()  # pyright: ignore[reportPrivateUsage]
    module.get_parameter("weight_g").data.mul_(100.0)  # read by nobody any more


def _parametrised_and_removed(module: nn.Module) -> None:
    parametrizations.spectral_norm(module)
    module.get_parameter("parametrizations.weight.original").data.mul_(3.0)
    parametrize.remove_parametrizations(module, "weight")


def _shadowed(module: nn.Module) -> None:
    """An instance attribute is what ``self.weight`` finds first; the parameter is read by nobody."""
    module.__dict__["weight"] = 0.25 * module.get_parameter("weight").detach()


def _plain_attribute(module: nn.Module) -> None:
    weight = module.get_parameter("weight").detach()
    del module.weight
    module.weight = 0.25 * weight


def _as_buffer(module: nn.Module) -> None:
    weight = module.get_parameter("weight").detach()
    del module.weight
    module.register_buffer("weight", 0.25 * weight)


def _negated_view(module: nn.Module) -> None:
    weight = module.get_parameter("weight").detach()
    module.weight = nn.Parameter(torch.complex(weight, -weight).conj().imag)


LEFTOVERS: dict[str, Alter] = {
    "nothing": lambda module: None,
    "pruned": _pruned,
    "pruned, hooks cleared": _pruned_by_hand,
    "old weight norm": _normed_and_removed(nn.utils.weight_norm, nn.utils.remove_weight_norm),
    "old weight norm, hooks cleared": _normed_and_hooks_cleared,
    "old spectral norm": _normed_and_removed(nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
    "new spectral norm": _parametrised_and_removed,
    "shadowed weight": _shadowed,
    "weight as plain attribute": _plain_attribute,
    "weight as buffer": _as_buffer,
    "negated view": _negated_view,
    "stale numbers beside": lambda module: module.register_buffer("weight_orig", torch.full((2, 2), 9.0)),
}


@pytest.mark.parametrize("name", LEFTOVERS)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the old weight_norm and spectral_norm
def test_what_is_left_on_a_module_changes_nothing_that_torch_does_not_run(name: str) -> None:
    for model, given in (wrapped(LEFTOVERS[name]), wrapped(lambda module: None, LEFTOVERS[name])):
        assert_true(ask(model, images()), given, images())
        assert_runs(model, given, images())


ATTACHED: dict[str, Alter] = {
    "old weight norm": nn.utils.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "new weight norm": parametrizations.weight_norm,
    "new spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}


@pytest.mark.parametrize("name", ATTACHED)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_computed_weights_are_frozen_as_they_are_now_and_said_so(name: str, caplog: pytest.LogCaptureFixture) -> None:
    alter = ATTACHED[name]
    for model, given in (wrapped(alter), wrapped(lambda module: None, alter)):
        assert_true(ask(model, images()), given, images())
        assert_runs(model, given, images())
    assert [record.message for record in caplog.records] == [
        f"{path}.weight: computed by a parametrisation, frozen at the current value" for path in ("features.0", "head")
    ]


def test_pruning_that_is_still_attached_is_refused() -> None:
    attached: Alter = lambda module: prune.l1_unstructured(module, "weight", amount=0.5)  # noqa: E731
    for alter_conv, alter_head in ((attached, lambda module: None), (lambda module: None, attached)):
        with pytest.raises(lp.UnsupportedLayerError, match="has hooks"):
            wrapped(alter_conv, alter_head)


class Tripled(nn.Parameter):
    """A parameter that takes part in every operation on it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        return 3 * result if func in (nn.functional.conv2d, nn.functional.linear) else result


class Sub(Tensor):
    """An attribute's type, not a parameter's."""


def _parameter(convert: Callable[[Tensor], Tensor]) -> Alter:
    def alter(module: nn.Module) -> None:
        module.weight = nn.Parameter(convert(module.get_parameter("weight").detach()), requires_grad=False)

    return alter


def _foreign_attribute(module: nn.Module) -> None:
    module.__dict__["weight"] = module.get_parameter("weight").detach().as_subclass(Sub)


WEIGHTS: dict[str, tuple[Alter, str]] = {
    "parameter subclass": (
        lambda module: setattr(module, "weight", Tripled(module.get_parameter("weight").data)),
        "tensor type Tripled",
    ),
    "attribute subclass": (_foreign_attribute, "tensor type Sub"),
    "float16": (_parameter(torch.Tensor.half), r"share one dtype.*float16"),
    "bfloat16": (_parameter(torch.Tensor.bfloat16), r"share one dtype.*bfloat16"),
    "float64 among float32": (_parameter(torch.Tensor.double), r"share one dtype.*float64"),
    "complex": (_parameter(lambda value: value + 0j), "must be a floating tensor.*complex64"),
    "integer": (_parameter(torch.Tensor.long), "must be a floating tensor.*int64"),
    "quantised": (
        _parameter(lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)),
        "must be a floating tensor.*qint8",
    ),
    "sparse": (_parameter(torch.Tensor.to_sparse), "stored as torch.sparse_coo"),
    "oneDNN": (_parameter(torch.Tensor.to_mkldnn), "stored as torch._mkldnn"),
    "meta": (_parameter(lambda value: value.to("meta")), "on the meta device"),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor", "ignore:.*torch.ao.quantization")
def test_weights_that_are_no_plain_float_numbers_are_refused(name: str) -> None:
    alter, words = WEIGHTS[name]
    for alter_conv, alter_head in ((alter, lambda module: None), (lambda module: None, alter)):
        with pytest.raises(lp.UnsupportedLayerError, match=words):
            wrapped(alter_conv, alter_head)


def test_a_parameter_subclass_would_have_mattered() -> None:
    features, head = modules(numbers())
    plain = head(features(images()))
    head.weight = Tripled(head.weight.data)
    assert not torch.allclose(head(features(images())), plain, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_are_refused_and_in_double_are_true(dtype: torch.dtype) -> None:
    given = numbers()
    features, head = modules(given)
    with pytest.raises(lp.UnsupportedLayerError, match="networks are float32 or float64"):
        lp.wrap(features.to(dtype), head.to(dtype), input_shape=SHAPE)
    x = images(torch.float64)
    features, head = modules(given)
    model = lp.wrap(features.double(), head.double(), input_shape=SHAPE)
    assert_true(ask(model, x), given, x)
    assert_runs(model, given, x)


def test_a_network_wrapped_twice_is_the_same_network() -> None:
    first, second = network(numbers()), network(numbers())
    assert first.digest == second.digest
    assert {buffer.data_ptr() for buffer in first.buffers()}.isdisjoint(b.data_ptr() for b in second.buffers())
