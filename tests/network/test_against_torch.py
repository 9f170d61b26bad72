"""Every operator against the torch module it stands for: values, shapes, gradients in the input, refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import AvgPool, Conv, MaxPool, MinMax, Operator
from lip_plugin.wrapping import operators_of

Randn = Callable[..., Tensor]


def _batch_norm() -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(4, eps=1e-3)
    generator = torch.Generator().manual_seed(3)
    for value in (module.weight, module.bias, module.running_mean):
        assert value is not None
        value.data.normal_(generator=generator)
    assert module.running_var is not None
    module.running_var.uniform_(0.01, 4.0, generator=generator)
    return module


def _batch_norm_1d() -> nn.BatchNorm1d:
    module = nn.BatchNorm1d(256)
    assert module.running_mean is not None and module.running_var is not None
    module.running_mean.uniform_(-1.0, 1.0)
    module.running_var.uniform_(0.1, 2.0)
    return module


def _prelu(channels: int) -> nn.PReLU:
    module = nn.PReLU(channels)
    module.weight.data.uniform_(-2.0, 2.0)
    return module


MODULES: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "conv stride 2": lambda: nn.Conv2d(4, 6, 5, 2, 2),
    "conv asymmetric": lambda: nn.Conv2d(4, 6, (3, 2), (1, 2), (0, 1), bias=False),
    "conv dilated groups": lambda: nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2),
    "conv circular": lambda: nn.Conv2d(4, 2, 3, padding=(2, 1), padding_mode="circular"),
    "conv circular strided": lambda: nn.Conv2d(4, 2, (4, 3), 3, padding=2, padding_mode="circular"),
    "conv same even": lambda: nn.Conv2d(4, 2, (2, 4), padding="same"),
    "conv same dilated": lambda: nn.Conv2d(4, 2, (2, 3), padding="same", dilation=(3, 1)),
    "conv same circular even": lambda: nn.Conv2d(4, 2, 4, padding="same", padding_mode="circular"),
    "conv valid": lambda: nn.Conv2d(4, 2, 3, padding="valid"),
    "batch norm": _batch_norm,
    "batch norm plain": lambda: nn.BatchNorm2d(4, affine=False),
    "average pool": lambda: nn.AvgPool2d((3, 2), (2, 1), (1, 1)),
    "average pool default stride": lambda: nn.AvgPool2d(2),
    "average pool no padding": lambda: nn.AvgPool2d(3, 2, count_include_pad=False),
    "max pool": lambda: nn.MaxPool2d(3, 2, 1),
    "max pool dilated": lambda: nn.MaxPool2d((2, 3), 1, (1, 0), (2, 1)),
    "l2 pool": lambda: nn.LPPool2d(2, (2, 4)),
    "relu": nn.ReLU,
    "leaky relu": lambda: nn.LeakyReLU(0.3),
    "elu": lambda: nn.ELU(1.7),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "pixel unshuffle": lambda: nn.PixelUnshuffle(2),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "channel shuffle": lambda: nn.ChannelShuffle(2),
    "flatten and linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 5)),
    "linear without bias": lambda: nn.Sequential(nn.Flatten(1), nn.Linear(256, 5, bias=False)),
    "conv reflect": lambda: nn.Conv2d(4, 2, 3, padding=(2, 1), padding_mode="reflect"),
    "conv replicate strided": lambda: nn.Conv2d(4, 2, (4, 3), 3, padding=5, padding_mode="replicate"),
    "transposed conv": lambda: nn.ConvTranspose2d(4, 6, 3),
    "transposed conv strided": lambda: nn.ConvTranspose2d(4, 6, (3, 4), (2, 3), (1, 2), (1, 2), 2, dilation=(2, 1)),
    "batch norm of vectors": lambda: nn.Sequential(nn.Flatten(), _batch_norm_1d()),
    "adaptive average pool": lambda: nn.AdaptiveAvgPool2d((2, None)),
    "adaptive max pool": lambda: nn.AdaptiveMaxPool2d((1, 4)),
    "even ceil pools": lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2, ceil_mode=True)),
    "gelu": nn.GELU,
    "gelu tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "relu6": nn.ReLU6,
    "hardtanh": lambda: nn.Hardtanh(-0.3, 0.4),
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "softplus": lambda: nn.Softplus(1.5),
    "softsign": nn.Softsign,
    "log sigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": lambda: nn.Softshrink(0.2),
    "prelu": nn.PReLU,
    "prelu of channels": lambda: _prelu(4),
    "rrelu": nn.RReLU,
    "threshold": lambda: nn.Threshold(0.3, 0.3),
    "zero padding": lambda: nn.ZeroPad2d((1, 2, 0, 3)),
    "cropping": lambda: nn.ZeroPad2d((-1, 2, 0, -3)),
    "circular padding": lambda: nn.CircularPad2d((1, 2, 3, 0)),
    "mirror and border": lambda: nn.Sequential(nn.ReflectionPad2d((1, 2, 3, 0)), nn.ReplicationPad2d((1, 2, 3, 0))),
    "zero padding and conv": lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(4, 2, 3, padding=1)),
    "upsampling": lambda: nn.Upsample(scale_factor=(2, 3)),
    "unflatten": lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (16, 4, 4))),
    "identity and dropout": lambda: nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Tanh()),
}


def _run(operators: Sequence[Operator], x: Tensor) -> Tensor:
    for operator in operators:
        x = operator.apply(x)
    return x


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch copies; the values are the same
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_values_shapes_and_gradients(name: str, dtype: torch.dtype, tolerance: float, randn: Randn) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval().to(dtype)
    operators = operators_of(module, "module", (4, 8, 8))
    x = randn(3, 4, 8, 8, dtype=dtype).requires_grad_(True)
    expected, found = module(x), _run(operators, x)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    shape: tuple[int, ...] = (4, 8, 8)
    for operator in operators:
        shape = operator.output_shape(shape)
    assert shape == tuple(expected.shape[1:])
    direction = randn(*expected.shape, seed=1, dtype=dtype)
    (of_torch,) = torch.autograd.grad((expected * direction).sum(), x)
    (of_ours,) = torch.autograd.grad((found * direction).sum(), x)
    assert torch.allclose(of_ours, of_torch, rtol=20 * tolerance, atol=20 * tolerance)


def test_channel_shuffle_interleaves_groups() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    (operator,) = operators_of(nn.ChannelShuffle(2).eval(), "shuffle", (6, 1, 1))
    assert operator.apply(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_minmax_pairs_the_halves_of_the_channels(randn: Randn) -> None:
    for shape in [(2, 6, 3, 3), (2, 6)]:
        x = randn(*shape)
        y = MinMax().apply(x)
        for c in range(3):
            assert torch.equal(y[:, c], torch.stack([x[:, c], x[:, c + 3]]).amax(0))
            assert torch.equal(y[:, c + 3], torch.stack([x[:, c], x[:, c + 3]]).amin(0))
    with pytest.raises(UnsupportedLayerError, match="even"):
        MinMax().output_shape((5, 3, 3))


def test_l2_pool_gradient_is_zero_where_the_window_is(randn: Randn) -> None:
    """The root has no derivative there; any subgradient is right as long as it is finite."""
    (operator,) = operators_of(nn.LPPool2d(2, 2).eval(), "pool", (2, 4, 4))
    x = randn(1, 2, 4, 4)
    x[:, :, :2, :2] = 0.0
    x.requires_grad_(True)
    operator.apply(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    assert not x.grad[:, :, :2, :2].any()
    window = x.detach()[0, 0, 2:, 2:]
    assert torch.allclose(x.grad[0, 0, 2:, 2:], window / window.norm(), atol=1e-12)


small = st.integers(1, 3)


@given(
    groups=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(small, small),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    mode=st.sampled_from(["zeros", "circular"]),
)
def test_any_convolution(
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    mode: str,
    randn: Randn,
) -> None:
    """Padded by hand, then convolved: same values and same shape, or refused by both."""
    weight, x = randn(2 * groups, 2, *kernel), randn(2, 2 * groups, *size, seed=1)
    conv = Conv(weight, None, stride, padding, dilation, groups, mode)
    top, bottom, left, right = padding
    try:
        padded = F.pad(x, (left, right, top, bottom), mode="constant" if mode == "zeros" else mode)
        expected = F.conv2d(padded, weight, None, stride, 0, dilation, groups)
    except RuntimeError:
        with pytest.raises(UnsupportedLayerError):
            conv.output_shape(tuple(x.shape[1:]))
        return
    assert conv.output_shape(tuple(x.shape[1:])) == tuple(expected.shape[1:])
    assert torch.allclose(conv.apply(x), expected, rtol=1e-12, atol=1e-12)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(small, small),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    average=st.booleans(),
)
def test_any_pool_is_refused_where_torch_refuses_it(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    average: bool,
    randn: Randn,
) -> None:
    x = randn(2, 3, *size)

    def ours() -> tuple[Operator, tuple[int, ...]]:
        pool = AvgPool(kernel, stride, padding) if average else MaxPool(kernel, stride, padding, dilation)
        return pool, pool.output_shape((3, *size))

    module = nn.AvgPool2d(kernel, stride, padding) if average else nn.MaxPool2d(kernel, stride, padding, dilation)
    try:
        expected = module(x)
    except RuntimeError:
        with pytest.raises(UnsupportedLayerError):
            ours()
        return
    if not torch.isfinite(expected).all():  # windows of padding alone have no maximum
        with pytest.raises(UnsupportedLayerError, match="padding alone"):
            ours()
        return
    pool, shape = ours()
    assert shape == tuple(expected.shape[1:])
    assert torch.allclose(pool.apply(x), expected, rtol=1e-12, atol=1e-12)


@given(channels=st.integers(1, 12), height=st.integers(1, 6), width=st.integers(1, 6), factor=st.integers(1, 3))
@pytest.mark.parametrize("module_type", [nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle])
def test_any_rearrangement(
    module_type: type[nn.Module], channels: int, height: int, width: int, factor: int, randn: Randn
) -> None:
    x = randn(2, channels, height, width)
    module = module_type(factor).eval()
    try:
        expected = module(x)
    except RuntimeError:
        with pytest.raises(UnsupportedLayerError, match="does not divide"):
            operators_of(module, "module", (channels, height, width))
        return
    assume(expected.numel())
    (operator,) = operators_of(module, "module", (channels, height, width))
    assert operator.output_shape((channels, height, width)) == tuple(expected.shape[1:])
    assert torch.equal(operator.apply(x), expected)


def test_input_gradient_of_a_whole_network(network: nn.Module, randn: Randn) -> None:
    """Against central differences, away from the kinks."""
    x = randn(1, 3, 8, 8, seed=5)
    direction, step = randn(1, 3, 8, 8, seed=6), 1e-6
    x.requires_grad_(True)
    for logit in range(3):
        (gradient,) = torch.autograd.grad(network(x)[0, logit], x)
        with torch.no_grad():
            rise = network(x + step * direction)[0, logit] - network(x - step * direction)[0, logit]
        assert float((gradient * direction).sum()) == pytest.approx(float(rise) / (2 * step), rel=1e-6, abs=1e-9)
