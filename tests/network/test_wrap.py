"""`wrap`: a user's torch network comes out as the same function, and everything doubtful is refused by its path."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import lip_plugin as lp
from lip_plugin.errors import UnsupportedLayerError

Randn = Callable[..., Tensor]
SHAPE = (3, 8, 8)
Mode = Literal["zeros", "circular"]
MODES: tuple[Mode, ...] = ("zeros", "circular")


class Subclass(nn.Conv2d):
    """Runs exactly what Conv2d runs."""


class Tripling(nn.Conv2d):
    """Runs what its parent does not."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return 3 * super()._conv_forward(input, weight, bias)


class Squared(nn.Module):
    """Without a Lipschitz bound."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


def _features(first: nn.Module) -> nn.Sequential:
    """(3, 8, 8) -> (5,), the module under test inside a nested Sequential."""
    inner = nn.Sequential(OrderedDict(under_test=first, act=nn.ReLU()))
    return nn.Sequential(inner, nn.Flatten(), nn.LazyLinear(5)).eval()


def _network(first: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    features = _features(first)
    with torch.no_grad():
        features(torch.zeros(1, *SHAPE))
    return features, nn.Linear(5, 4).eval()


def _refused(features: nn.Module, head: nn.Linear, words: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=words):
        lp.wrap(features, head, input_shape=SHAPE)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@given(
    seed=st.integers(0, 10**6),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 3]),
    mode=st.sampled_from(MODES),
    padding=st.one_of(st.just("same"), st.just("valid"), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    bias=st.booleans(),
    activation=st.sampled_from([nn.ReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU]),
    norm=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_random_networks_agree_with_torch(
    dtype: torch.dtype,
    tolerance: float,
    seed: int,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    groups: int,
    mode: Mode,
    padding: str | tuple[int, int],
    bias: bool,
    activation: type[nn.Module],
    norm: bool,
    randn: Randn,
) -> None:
    torch.manual_seed(seed)
    strides = 1 if padding == "same" else stride
    conv = nn.Conv2d(3, 6, kernel, strides, padding, dilation, groups, bias, mode)
    middle = nn.BatchNorm2d(6) if norm else nn.Identity()
    features = nn.Sequential(conv, nn.Sequential(middle, activation()), nn.AvgPool2d(2), nn.Flatten()).eval().to(dtype)
    if isinstance(middle, nn.BatchNorm2d):
        assert middle.running_mean is not None and middle.running_var is not None
        middle.running_mean.normal_()
        middle.running_var.uniform_(0.1, 2.0)
    x = randn(3, *SHAPE, seed=seed, dtype=dtype).clamp(0, 1)
    with torch.no_grad():
        width = features(x).shape[1]
        head = nn.Linear(width, 4, bias=bias).eval().to(dtype)
        expected = head(features(x))
    network = lp.wrap(features, head, input_shape=SHAPE)
    assert network.dtype == dtype
    assert torch.allclose(network(x), expected, rtol=tolerance, atol=tolerance)


def test_a_module_used_twice_runs_twice(randn: Randn) -> None:
    """torch's named_children() leaves out repetitions; a Sequential does not."""
    torch.manual_seed(0)
    shared, activation = nn.Linear(12, 12), nn.Tanh()
    features = nn.Sequential(nn.Flatten(), shared, activation, nn.Linear(12, 12), activation, shared, activation).eval()
    head = nn.Linear(12, 3).eval()
    network = lp.wrap(features, head, input_shape=(3, 2, 2))
    x = randn(4, 3, 2, 2, dtype=torch.float32)
    assert torch.allclose(network(x), head(features(x)), atol=1e-6)
    assert [operator.kind for operator in network.operators].count("activation") == 3
    block = nn.Sequential(shared, activation)
    nested = nn.Sequential(nn.Flatten(), block, block).eval()
    assert torch.allclose(lp.wrap(nested, head, input_shape=(3, 2, 2))(x), head(nested(x)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_padding_changed_after_construction_is_read_where_torch_reads_it(mode: Mode, randn: Randn) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 2, 3, padding=1, padding_mode=mode)
    conv.padding = (0, 2)
    features, head = _network(conv)
    x = randn(2, *SHAPE, dtype=torch.float32)
    assert torch.allclose(lp.wrap(features, head, input_shape=SHAPE)(x), head(features(x)), atol=1e-6)


def test_batch_norm_is_its_mean_one_scale_and_its_shift(randn: Randn) -> None:
    norm = nn.BatchNorm2d(3, eps=0.1).double()
    for value in (norm.weight, norm.bias, norm.running_mean):
        assert value is not None
        value.data = randn(3, seed=value.numel())
    norm.running_var = torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    features, head = nn.Sequential(norm, nn.Flatten()).eval(), nn.Linear(192, 2).double().eval()
    network = lp.wrap(features, head, input_shape=SHAPE)
    centre, scale, offset, _ = network.operators
    assert norm.running_mean is not None
    assert torch.equal(centre.tensors()["offset"], -norm.running_mean)
    expected = norm.weight / torch.sqrt(norm.running_var + 0.1)
    assert torch.allclose(scale.tensors()["scale"], expected, rtol=1e-14)
    assert torch.equal(offset.tensors()["offset"], norm.bias)
    x = randn(2, *SHAPE)
    assert torch.allclose(network.features(x), features(x), atol=1e-12)


def test_later_changes_do_not_reach_the_wrapped_network(randn: Randn) -> None:
    features, head = _network(nn.Conv2d(3, 2, 3))
    network = lp.wrap(features, head, input_shape=SHAPE)
    before = network.digest
    with torch.no_grad():
        for parameter in [*features.parameters(), *head.parameters()]:
            parameter.zero_()
    assert network.digest == before


def _with_hook(register: str) -> nn.Module:
    module = nn.Conv2d(3, 2, 3)
    getattr(module, register)(lambda *arguments: None)
    return module


def _with_override(name: str) -> nn.Module:
    module = nn.Conv2d(3, 2, 3)
    object.__setattr__(module, name, getattr(module, name))
    return module


def _weight_subclass() -> nn.Module:
    class Odd(torch.Tensor):
        pass

    module = nn.Conv2d(3, 2, 3)
    del module.weight
    module.register_buffer("weight", torch.zeros(2, 3, 3, 3).as_subclass(Odd))
    return module


ALTERED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "unknown": (Squared, r"features\.0\.under_test: multiplies two activations"),
    "unknown torch module": (lambda: nn.LayerNorm(8), r"features\.0\.under_test is .*LayerNorm, which has no operator"),
    "forward hook": (lambda: _with_hook("register_forward_hook"), r"features\.0\.under_test .*hooks"),
    "pre hook": (lambda: _with_hook("register_forward_pre_hook"), r"features\.0\.under_test .*hooks"),
    "backward hook": (lambda: _with_hook("register_full_backward_hook"), r"features\.0\.under_test .*hooks"),
    "backward pre hook": (lambda: _with_hook("register_full_backward_pre_hook"), r"features\.0\.under_test .*hooks"),
    "forward replaced": (lambda: _with_override("forward"), r"features\.0\.under_test .*replaced forward"),
    "conv forward replaced": (lambda: _with_override("_conv_forward"), "replaced _conv_forward"),
    "tensor subclass": (_weight_subclass, "tensor type"),
    "padding of ones": (lambda: nn.ConstantPad2d(1, 1.0), r"under_test: pads with 1"),
    "ceil average pool": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), r"under_test: .*ceil_mode"),
    "ceil max pool, spread": (lambda: nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True), r"under_test: .*ceil_mode"),
    "ceil l2 pool": (lambda: nn.LPPool2d(2, 3, ceil_mode=True), r"under_test: .*ceil_mode"),
    "average of what is there": (
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        r"under_test: .*count_include_pad",
    ),
    "divisor": (lambda: nn.AvgPool2d(3, 2, divisor_override=1), r"under_test: .*divisor_override"),
    "overlapping l2 pool": (lambda: nn.LPPool2d(2, 3, stride=1), r"under_test: .*stride"),
    "l3 pool": (lambda: nn.LPPool2d(3, 2), r"under_test: .*norm 2"),
    "batch statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), r"under_test: .*running statistics"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_modules_are_refused(name: str) -> None:
    make, words = ALTERED[name]
    torch.manual_seed(0)
    features, head = _network(make())
    _refused(features, head, words)


def test_training_mode_is_refused_wherever_it_is() -> None:
    for path in ("", "0", "0.under_test", "0.act"):
        features, head = _network(nn.Conv2d(3, 2, 3))
        features.get_submodule(path).train(True)
        if path == "0":
            features[0][0].eval()  # pyright: ignore[reportIndexIssue]
        _refused(features, head, "training mode; call .eval")
    features, head = _network(nn.Conv2d(3, 2, 3))
    _refused(features, head.train(), r"head \(Linear\) is in training mode")


def test_altered_containers_and_heads_are_refused() -> None:
    features, head = _network(nn.Conv2d(3, 2, 3))
    handle = features[0].register_forward_hook(lambda module, args, output: None)
    _refused(features, head, r"features\.0 \(Sequential\) has hooks")
    handle.remove()
    features.forward = features.forward
    _refused(features, head, r"features \(Sequential\) has a replaced forward")
    del features.forward
    handle = head.register_forward_pre_hook(lambda module, args: None)
    _refused(features, head, r"head \(Linear\) has hooks")
    handle.remove()
    _refused(features, nn.Sequential(nn.Linear(5, 4)).eval(), "expected torch.nn.Linear")  # pyright: ignore[reportArgumentType]
    _refused(nn.ModuleList([features]).eval(), head, "ModuleList")
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: None)
    try:
        _refused(features, head, "global module hooks")
    finally:
        handle.remove()
    assert lp.wrap(features, head, input_shape=SHAPE).num_classes == 4


def test_a_compiled_call_and_a_hole_are_refused() -> None:
    features, head = _network(nn.Conv2d(3, 2, 3))
    features[0]._compiled_call_impl = lambda x: x  # pyright: ignore[reportPrivateUsage]
    _refused(features, head, "replaced call")
    features, head = _network(nn.Conv2d(3, 2, 3))
    features.register_module("1", None)
    _refused(features, head, r"features\.1 is None")


def test_weights_without_a_bound_are_refused_when_it_is_asked_for() -> None:
    features, head = _network(nn.Conv2d(3, 2, 3))
    with torch.no_grad():
        conv = features.get_submodule("0.under_test")
        assert isinstance(conv, nn.Conv2d)
        conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UnsupportedLayerError, match="NaN"):
        lp.lipschitz_upper_bound(lp.wrap(features, head, input_shape=SHAPE))


def test_flatten_of_other_dimensions_is_refused_where_it_is_no_flatten() -> None:
    for flatten, words in (
        (nn.Flatten(0), "mixes images"),
        (nn.Flatten(2), "last axis"),
        (nn.Flatten(1, 2), "last axis"),
    ):
        with pytest.raises(UnsupportedLayerError, match=words):
            lp.wrap(nn.Sequential(flatten, nn.Linear(64, 2)).eval(), input_shape=SHAPE)
    two_steps = nn.Sequential(nn.Flatten(2), nn.Flatten(1), nn.Linear(192, 2)).eval()
    assert [layer.kind for layer in lp.wrap(two_steps, input_shape=SHAPE).layers][-2:] == ["flatten", "head"]


TAKEN: dict[str, Callable[[], nn.Module]] = {
    "subclass": lambda: Subclass(3, 2, 3),
    "subclass of its own": lambda: Tripling(3, 2, 3),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 2, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 2, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(3, 2, 3)),
    "old spectral norm": lambda: nn.utils.spectral_norm(nn.Conv2d(3, 2, 3)),
    "old weight norm": lambda: nn.utils.weight_norm(nn.Conv2d(3, 2, 3)),
    "reflect padding": lambda: nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"),
    "replicate padding": lambda: nn.Conv2d(3, 2, 3, padding=3, padding_mode="replicate"),
}


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the old norms
def test_what_runs_is_what_is_taken(name: str, randn: Randn) -> None:
    torch.manual_seed(0)
    features, head = _network(TAKEN[name]())
    x = randn(4, *SHAPE, dtype=torch.float32)
    assert torch.allclose(lp.wrap(features, head, input_shape=SHAPE)(x), head(features(x)), atol=1e-5)
