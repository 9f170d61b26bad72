"""`lp.pair_lipschitz_estimate` beside singular values, finite differences and the bound that `lp.wrap` leads to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import lip_plugin as lp

SHAPE = (2, 6, 6)


class Block(nn.Module):
    """A residual block as people build them: batch norm, and a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Scaled(nn.Module):
    """Own parameters in place of layers, and branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[[[0.5]], [[2.0]]]]))
        self.one, self.other = nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(2, 2, 3, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x * self.gain)
        return torch.cat([self.one(x), self.other(x)], 1)


def _conv() -> nn.Sequential:
    layers = (nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.PReLU(), nn.Conv2d(4, 5, 2))
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 6))


def _parametrised() -> nn.Sequential:
    dense = parametrizations.weight_norm(nn.Linear(16, 6))
    return nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(2, 4, 3, stride=3)), nn.PReLU(4), nn.Flatten(), dense)


FEATURES: dict[str, Callable[[], nn.Sequential]] = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.ELU(2.0), nn.Linear(8, 6), nn.BatchNorm1d(6)),
    "conv": _conv,
    "residual": lambda: nn.Sequential(Block(2), nn.MaxPool2d(2), Block(2), nn.Flatten(), nn.Linear(18, 6)),
    "own parameters": lambda: nn.Sequential(Scaled(), nn.Flatten(), nn.Linear(80, 6)),
    "parametrised": _parametrised,
}


def _network(kind: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Sequential, nn.Linear]:
    """In training mode, with statistics that are not those of a new network."""
    torch.manual_seed(0)
    features, head = FEATURES[kind](), nn.Linear(6, 4)
    for part in features.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for value, low, high in (
                (part.running_var, 0.5, 2.0),
                (part.running_mean, -1.0, 1.0),
                (part.weight, 0.5, 2.0),
            ):
                assert value is not None
                nn.init.uniform_(value, low, high)
        if isinstance(part, nn.PReLU):
            nn.init.uniform_(part.weight, 1.2, 2.0)
    return features.to(dtype).train(), head.to(dtype).train()


def _estimate(
    features: nn.Module, head: nn.Linear, state: lp.EstimateState | None = None, *, steps: int = 10
) -> Tensor:
    return lp.pair_lipschitz_estimate(features, head, input_shape=SHAPE, state=state, steps=steps)


def _proved(features: nn.Module, head: nn.Linear) -> Tensor:
    features, head = copy.deepcopy(features).eval(), copy.deepcopy(head).eval()
    return lp.pair_lipschitz_upper_bound(lp.wrap(features, head, input_shape=SHAPE))


def _off_diagonal(pairs: Tensor) -> Tensor:
    return pairs.detach().double()[~torch.eye(len(pairs), dtype=torch.bool)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", FEATURES)
def test_estimate_comes_to_the_proved_bound_from_below(kind: str, dtype: torch.dtype) -> None:
    features, head = _network(kind, dtype)
    proved, state = _off_diagonal(_proved(features, head)), lp.EstimateState()
    found = [_estimate(features, head, state, steps=30) for _ in range(10)]
    shares = torch.stack([_off_diagonal(pairs) / proved for pairs in found])
    assert bool((shares.diff(dim=0) > -1e-6).all()) and float(shares.max()) <= 1 + 1e-6
    assert float(shares[-1].min()) > 0.99
    pairs = found[-1]
    assert pairs.dtype == dtype and pairs.shape == (4, 4) and not bool(pairs.diagonal().any())


def test_linear_network_is_estimated_as_its_jacobian_stretches() -> None:
    """One convolution: nothing of the estimate is a product then, and the SVD of the whole Jacobian is the constant."""
    torch.manual_seed(0)
    features, head = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten()).double(), nn.Linear(108, 4).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: features(x[None])[0], torch.zeros(SHAPE).double())
    norm = torch.linalg.svdvals(jacobian.reshape(108, 72))[0]
    rows = head.weight.detach()
    expected = norm * torch.stack([torch.stack([(a - b).norm() for b in rows]) for a in rows])
    torch.testing.assert_close(_estimate(features, head, steps=3000).detach(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", FEATURES)
def test_gradient_is_that_of_finite_differences(kind: str) -> None:
    """Along steps of random lengths that all lead upward, so that no missing part hides in a sum that cancels."""
    features, head = _network(kind)
    state = lp.EstimateState()
    _estimate(features, head, state, steps=3000)
    weights = [*features.parameters(), *head.parameters()]
    found = torch.autograd.grad(_estimate(features, head, state).sum(), weights, materialize_grads=True)
    names = [name for name, _ in (*features.named_parameters(), *head.named_parameters())]
    assert all(bool(own.any()) != name.endswith("bias") for name, own in zip(names, found, strict=True))
    moves = [torch.rand_like(weight) * own.sign() * 1e-5 for weight, own in zip(weights, found, strict=True)]
    values: list[float] = []
    for sign in (1.0, -2.0):
        with torch.no_grad():
            for weight, move in zip(weights, moves, strict=True):
                weight += sign * move
        values.append(float(_estimate(features, head, state, steps=1000).detach().sum()))
    slope = sum(float((own * move).sum()) for own, move in zip(found, moves, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / 2, rel=1e-3)


def test_warm_start_goes_on_where_the_last_call_ended() -> None:
    features, head = _network("conv")
    limit = float(_estimate(features, head, steps=5000).detach().max())
    state = lp.EstimateState()
    first = float(_estimate(features, head, state, steps=1).detach().max())
    warm = [float(_estimate(features, head, state, steps=1).detach().max()) for _ in range(20)][-1]
    cold = float(_estimate(features, head, steps=1).detach().max())
    assert cold == first < warm < limit * (1 + 1e-9)
    restored = lp.EstimateState()
    restored.load_state_dict({name: vector.clone() for name, vector in state.state_dict().items()})
    assert torch.equal(_estimate(features, head, restored, steps=2), _estimate(features, head, state, steps=2))


def test_nothing_changes_but_the_state() -> None:
    features, head = _network("parametrised")
    features[0].eval()  # somebody keeps this part in another mode
    modes = [part.training for part in features.modules()]
    before, generator = copy.deepcopy(features.state_dict()), torch.get_rng_state()
    plain = _estimate(features, head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_estimate(features, head), plain)
    with torch.no_grad():
        assert torch.equal(_estimate(features, head), plain) and not _estimate(features, head).requires_grad
    assert modes == [part.training for part in features.modules()]
    assert all(torch.equal(value, before[name]) for name, value in features.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("kind", FEATURES)
def test_no_number_is_asked_for_once_it_runs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there are none: whatever would wait for an accelerator fails there."""
    features, head = _network(kind, torch.float32)
    state = lp.EstimateState()
    _estimate(features, head, state)
    monkeypatch.setattr(torch, "autocast", lambda *given, **settings: nullcontext())  # which meta has none of
    pairs = _estimate(features.to("meta"), head.to("meta"), state)
    assert pairs.device.type == "meta" and pairs.shape == (4, 4)
    pairs.sum().backward()
    assert head.weight.grad is not None and head.weight.grad.device.type == "meta"


def test_whole_network_rows_and_one_logit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1))
    proved = lp.pair_lipschitz_upper_bound(lp.wrap(network.eval(), input_shape=(2, 6)))
    pairs = lp.pair_lipschitz_estimate(network, input_shape=(2, 6), steps=500).detach().double()
    torch.testing.assert_close(pairs, proved, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "layer",
    [nn.GRU(6, 6), nn.InstanceNorm2d(2), nn.Softmax2d(), nn.Bilinear(6, 6, 6)],
    ids=lambda layer: type(layer).__name__,
)
def test_what_wrap_refuses_is_refused_in_the_same_line(layer: nn.Module) -> None:
    features, head = nn.Sequential(nn.ReLU(), layer, nn.Flatten()), nn.Linear(72, 3)
    with pytest.raises(lp.UnsupportedLayerError) as wrapped:
        lp.wrap(features.eval(), head.eval(), input_shape=SHAPE)
    with pytest.raises(lp.UnsupportedLayerError) as estimated:
        _estimate(features.train(), head.train())
    assert str(estimated.value) == str(wrapped.value) and "\n" not in str(wrapped.value)


def test_state_of_another_network_is_refused() -> None:
    state = lp.EstimateState()
    _estimate(*_network("dense"), state)
    with pytest.raises(lp.ConfigError, match=r"state is that of another network.*new EstimateState\(\)"):
        _estimate(*_network("conv"), state)


def test_descent_on_it_lowers_the_constants_that_are_proved() -> None:
    features, head = _network("residual", torch.float32)
    before, state = float(_proved(features, head).max()), lp.EstimateState()
    optimiser = torch.optim.SGD([*features.parameters(), *head.parameters()], lr=0.002)
    for _ in range(15):
        optimiser.zero_grad()
        _estimate(features, head, state).mean().backward()
        optimiser.step()
    assert float(_proved(features, head).max()) < 0.7 * before
