"""Layers that people's networks have: their constants in closed form, or by the SVD of their matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp

IMAGE = (4, 8, 8)
CLOSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "global average": (lambda: nn.AdaptiveAvgPool2d(1), IMAGE, 1 / 8),
    "average to 2x2": (lambda: nn.AdaptiveAvgPool2d(2), IMAGE, 1 / 4),
    "global maximum": (lambda: nn.AdaptiveMaxPool2d(1), IMAGE, 1.0),
    "dropout of channels": (lambda: nn.Dropout2d(0.5), IMAGE, 1.0),
    "alpha dropout": (lambda: nn.AlphaDropout(0.5), IMAGE, 1.0),
    "feature alpha dropout": (lambda: nn.FeatureAlphaDropout(0.5), IMAGE, 1.0),
    "relu6": (nn.ReLU6, IMAGE, 1.0),
    "softplus": (nn.Softplus, IMAGE, 1.0),
    "gelu": (nn.GELU, IMAGE, 1.1289041451851547),
    "silu": (nn.SiLU, IMAGE, 1.0998393201288669),
    "selu": (nn.SELU, IMAGE, 1.7580993408473768),
    "mish": (nn.Mish, IMAGE, 1.0884981612517278),
    "hardswish": (nn.Hardswish, IMAGE, 1.5),
    "hardsigmoid": (nn.Hardsigmoid, IMAGE, 1 / 6),
    "zeros around": (lambda: nn.ZeroPad2d(1), IMAGE, 1.0),
    "a corner four times": (lambda: nn.CircularPad2d(1), IMAGE, 2.0),
    "doubled": (lambda: nn.Upsample(scale_factor=2), IMAGE, 2.0),
    "one dimension more": (lambda: nn.Unflatten(1, (2, 2)), (4, 1, 1), 1.0),
    "twice": (lambda: _Own(lambda x: 2 * x), IMAGE, 2.0),
    "mean of the map": (lambda: _Own(lambda x: x.mean((2, 3))), IMAGE, 1 / 8),
    "sum of the map": (lambda: _Own(lambda x: x.sum((-1, -2), keepdim=True)), IMAGE, 8.0),
    "norm of the map": (lambda: _Own(lambda x: torch.linalg.vector_norm(x, dim=(2, 3))), IMAGE, 1.0),
    "maximum of the map": (lambda: _Own(lambda x: x.amax((2, 3))), IMAGE, 1.0),
    "channels shuffled": (
        lambda: _Own(lambda x: x.view(len(x), 2, 2, 8, 8).transpose(1, 2).contiguous().view(len(x), -1, 8, 8)),
        IMAGE,
        1.0,
    ),
    "x + x": (lambda: _Own(lambda x: x + x), IMAGE, 2.0),
    "x - x / 4": (lambda: _Own(lambda x: x - x / 4), IMAGE, 0.75),
}


class _Own(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = [function]  # in a list: an attribute that is called would be a replaced method

    def forward(self, x: Tensor) -> Tensor:
        return self._function[0](x)


@pytest.mark.parametrize("name", CLOSED)
def test_constants_in_closed_form(name: str) -> None:
    make, shape, exact = CLOSED[name]
    bound = lp.lipschitz_upper_bound(make().eval(), input_shape=shape).value  # pyright: ignore[reportArgumentType]
    assert exact * (1 - 1e-12) <= bound <= exact * (1 + 1e-6)


def _conv_and_norm() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_var.copy_(torch.tensor([0.01, 1.0, 9.0]))
    return nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), norm)


def _norm_and_dense() -> nn.Module:
    scale = torch.tensor([0.1, 1.0, 5.0, -2.0]).view(4, 1, 1)
    return nn.Sequential(
        _Own(lambda x: (x - 0.5) / scale), nn.PixelUnshuffle(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 7)
    )


LINEAR: dict[str, tuple[Callable[[], nn.Module], float]] = {
    # name: (module, how far the bound may lie above the norm of its matrix)
    "reflected": (lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), 1 + 1e-6),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 3, 2, 1, 1), 1 + 1e-6),
    "batch norm after a convolution": (_conv_and_norm, 1 + 1e-6),
    "scale, rearranged, before a dense layer": (_norm_and_dense, 2.0),
    "x + conv(x)": (lambda: _Residual(nn.Conv2d(4, 4, 3, padding=1)), 1 + 1e-6),
    "padded twice": (lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(4, 3, 3, padding=1)), 1 + 1e-6),
}


class _Residual(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_against_their_matrix(name: str) -> None:
    torch.manual_seed(0)
    make, looseness = LINEAR[name]
    module = make().eval().double() if "scale" not in name else make().eval()
    dtype = next(module.parameters()).dtype
    basis = torch.eye(256, dtype=dtype).view(-1, *IMAGE)
    with torch.no_grad():
        columns = (module(basis) - module(torch.zeros(1, *IMAGE, dtype=dtype))).flatten(1).double()
    exact = float(torch.linalg.svdvals(columns)[0])
    bound = lp.lipschitz_upper_bound(module, input_shape=IMAGE).value
    assert exact * (1 - 1e-5) <= bound <= exact * looseness


ROWS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv1d(4, 3, 3, stride=2, padding=2, dilation=2),
    "grouped": lambda: nn.Conv1d(4, 4, 3, padding="same", groups=2),
    "transposed": lambda: nn.ConvTranspose1d(4, 2, 3, 2, 1, 1),
    "average": lambda: nn.AvgPool1d(3, 2, 1),
    "global average": lambda: nn.AdaptiveAvgPool1d(1),
    "mean": lambda: _Own(lambda x: x.mean(-1)),
    "zeros": lambda: nn.ZeroPad1d((2, 0)),
    "mirrored": lambda: nn.ReflectionPad1d(1),
    "doubled": lambda: nn.Upsample(scale_factor=2),
    "cropped": lambda: _Own(lambda x: x[:, :, 1:-1]),
    "transposed axes": lambda: _Own(lambda x: x.transpose(1, 2)),
}


@pytest.mark.parametrize("name", ROWS)
def test_layers_of_one_axis_against_their_matrix(name: str) -> None:
    torch.manual_seed(0)
    module = ROWS[name]().eval().double()
    basis = torch.eye(40, dtype=torch.float64).view(40, 4, 10)
    with torch.no_grad():
        columns = (module(basis) - module(torch.zeros(1, 4, 10, dtype=torch.float64))).flatten(1)
    exact = float(torch.linalg.svdvals(columns)[0])
    bound = lp.lipschitz_upper_bound(module, input_shape=(4, 10)).value  # type: ignore[arg-type]
    assert exact * (1 - 1e-5) <= bound <= exact * (1.1 if name == "mirrored" else 1 + 1e-6)


@pytest.mark.parametrize("layer", [nn.MaxPool1d(3, 2, 1), nn.AdaptiveMaxPool1d(2), nn.LPPool1d(2, 2)])
def test_pools_of_one_axis_are_what_they_were(layer: nn.Module) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), layer, nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.rand(5, 2, 8)
    expected = module(x)
    model = lp.wrap(module, input_shape=(2, 8))
    assert torch.allclose(model(x.view(5, 2, 1, 8)), expected, atol=1e-6)


def _written(out: Tensor, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    for i in range(3):
        out[:, i] = (x[:, i] - mean[i]) / std[i]
    return out


def _affine(mean: Tensor, std: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """(x - mean) / std as people write it; mean and std are (C, 1, 1)."""
    return {
        "spread like the image": lambda x: (x - mean.expand_as(x)) / std.expand(x.shape),
        "repeated for the batch": lambda x: (x - mean.repeat(len(x), 1, 4, 4)) / std,
        "of the image's type": lambda x: (x - mean.type_as(x)) / std.to(x),
        "new numbers": lambda x: (x - x.new_tensor(mean.tolist())) / (torch.zeros_like(x) + std),
        "addcmul": lambda x: torch.addcmul(-mean / std, x, 1 / std),
        "channels last": lambda x: x.permute(0, 2, 3, 1).sub(mean.flatten()).div(std.flatten()).permute(0, 3, 1, 2),
        "as rows": lambda x: (x.flatten(2) - mean.flatten(1)).div(std.flatten(1)).view_as(x),
        "overwriting the image": lambda x: x.sub_(mean).div_(std),
        "channel by channel": lambda x: torch.stack([(x[:, i] - mean[i]) / std[i] for i in range(3)], 1),
        "slice by slice": lambda x: torch.cat([(x[:, i : i + 1] - mean[i]) / std[i] for i in range(3)], dim=1),
        "written channel by channel": lambda x: _written(x.clone(), x, mean, std),
        "written into an empty tensor": lambda x: _written(torch.empty_like(x), x, mean, std),
        "per entry": lambda x: (x - mean.expand(3, 4, 4)) / std.expand(3, 4, 4),
        "and another order": lambda x: ((x - mean) / std).flip(1).flip(1).flatten(2).transpose(1, 2).transpose(1, 2),
    }


@pytest.mark.parametrize("name", _affine(torch.zeros(1), torch.ones(1)))
def test_normalisation_costs_no_radius_however_it_is_written(name: str) -> None:
    torch.manual_seed(0)
    mean, std = torch.rand(3, 1, 1), torch.rand(3, 1, 1) + 0.1
    head = nn.Linear(48, 2)
    model = lp.wrap(nn.Sequential(_Own(_affine(mean, std)[name]), nn.Flatten(), head).eval(), input_shape=(3, 4, 4))
    rows = (head.weight[0] - head.weight[1]).detach().double().view(3, -1) / std.double().flatten(1)
    exact = float(rows.norm())
    assert exact * (1 - 1e-6) <= float(lp.pair_lipschitz_upper_bound(model)[0, 1]) <= exact * (1 + 1e-6)


def test_numbers_per_pixel_cost_no_radius() -> None:
    torch.manual_seed(0)
    std, head = torch.rand(3, 4, 4) + 0.1, nn.Linear(48, 2)
    model = lp.wrap(nn.Sequential(_Own(lambda x: x / std), nn.Flatten(), head).eval(), input_shape=(3, 4, 4))
    exact = float(((head.weight[0] - head.weight[1]).detach().double() / std.double().flatten()).norm())
    assert exact * (1 - 1e-6) <= float(lp.pair_lipschitz_upper_bound(model)[0, 1]) <= exact * (1 + 1e-6)


def test_normalisation_costs_no_radius() -> None:
    """f(x) = W (x - m) / s + b: the radius is the gap over the length of the row differences, divided by s."""
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]], dtype=torch.float64)
    head = nn.Linear(192, 10).eval().double()
    head.weight.data = torch.randn(10, 192, generator=generator, dtype=torch.float64)
    head.bias.data.zero_()
    norm = _Own(lambda x: (x - mean[:, None, None]) / std[:, None, None])
    norm.register_buffer("mean", mean)
    x = torch.rand(64, 3, 8, 8, generator=generator, dtype=torch.float64)
    proof = lp.certify(lp.wrap(nn.Sequential(norm, nn.Flatten()).eval().double(), head, input_shape=(3, 8, 8)), x)
    spread = std.double().repeat_interleave(64)
    weight = head.weight.detach().double() / spread
    flat = x.double().flatten(1) - mean.double().repeat_interleave(64)
    logits = flat @ weight.T + head.bias.detach().double()
    label = logits.argmax(1)
    gap = logits.gather(1, label[:, None]) - logits
    exact = gap / torch.linalg.vector_norm(weight[:, None] - weight[None], dim=2)[label]
    exact = exact.scatter(1, label[:, None], torch.inf).amin(1)
    assert torch.equal(proof.prediction, label)
    assert (proof.radius <= exact * (1 + 1e-6)).all()
    assert (proof.radius >= exact * (1 - 1e-4)).all()


class _DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in (self.first, self.second):
            found.append(torch.relu(layer(torch.cat(found, 1))))
        return torch.cat(found, 1)


BRANCHES: dict[str, Callable[[], nn.Module]] = {
    "dense block": _DenseNet,
    "pools side by side": lambda: _Own(
        lambda x: torch.cat([nn.functional.adaptive_avg_pool2d(x, 1), x.amax((2, 3), keepdim=True)], 1)
    ),
    "both signs": lambda: _Own(lambda x: torch.cat([x.relu(), (-x).relu()], 1)),
    "features of two depths": lambda: _Own(lambda x: torch.cat([x.tanh().flatten(1), x[:, :, ::2].flatten(1)], 1)),
    "x and its sine": lambda: _Own(lambda x: torch.cat([x, x.sin()], dim=-3)),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_side_by_side(name: str) -> None:
    """The same function, and no pair of classes changes faster than the bound says (Jacobians at random images)."""
    torch.manual_seed(0)
    module = nn.Sequential(BRANCHES[name](), nn.Flatten(), nn.LazyLinear(3))
    x = torch.rand(6, 3, 4, 4)
    module(x)
    module.eval()
    model = lp.wrap(module, input_shape=(3, 4, 4))
    assert torch.allclose(model(x), module(x), atol=1e-5)
    steep = torch.stack(
        [torch.autograd.functional.jacobian(lambda one: module(one)[0], image[None]).flatten(1) for image in x]  # type: ignore[misc]
    )
    bound = lp.pair_lipschitz_upper_bound(model)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (steep[:, i] - steep[:, j]).norm(dim=1).max() <= float(bound[i, j]) * (1 + 1e-5)


def test_what_is_joined_along_other_axes_is_told_the_way() -> None:
    network = nn.Sequential(_Own(lambda x: torch.cat([x.tanh(), x.sin()], 2)), nn.Flatten(), nn.Linear(96, 3)).eval()
    with pytest.raises(lp.UnsupportedLayerError, match=r"torch\.cat\(branches, 1\) or by sums"):
        lp.wrap(network, input_shape=(3, 4, 4))


@pytest.mark.parametrize("size", [7, 8, 9, 10])
@pytest.mark.parametrize("how", [(3, 2, 0), (2, 2, 1), (2, 3, 0), (3, 2, 1), (4, 3, 2)])
def test_partial_windows_of_maxima(size: int, how: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.MaxPool2d(*how, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(4, 2, size, size)
    expected = module(x)
    assert torch.allclose(lp.wrap(module.eval(), input_shape=(2, size, size))(x), expected, atol=1e-5)
