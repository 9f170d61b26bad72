"""Losses against plain loops over floats with math.exp and math.log."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.losses import emma_loss, gloro_trades_loss, logit_annealing_loss, margin_loss

Randn = Callable[..., Tensor]
Loss = Callable[..., Tensor]
ALL: dict[str, Loss] = {
    "emma": emma_loss,
    "margin": margin_loss,
    "trades": gloro_trades_loss,
    "annealing": logit_annealing_loss,
}
BY_LABEL = ["emma", "margin", "annealing"]


def _log_sum_exp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def _cross_entropy(values: list[float], label: int) -> float:
    return _log_sum_exp(values) - values[label]


def _emma_shifted(row: list[float], label: int, lipschitz: list[list[float]], eps: float) -> list[float]:
    shifted: list[float] = []
    for i, logit in enumerate(row):
        reach, gap = eps * lipschitz[label][i], logit - row[label]
        rho = min(max(-gap / max(reach, 1e-8), 0.01), 1.0)
        shifted.append(gap + rho * reach)
    return shifted


def _by_loop(name: str, logits: Tensor, labels: Tensor, pair: Tensor, eps: float) -> float:
    lipschitz, total = pair.tolist(), 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if name == "emma":
            total += _cross_entropy(_emma_shifted(row, label, lipschitz, eps), label)
        elif name == "margin":
            total += _cross_entropy([f + eps * lipschitz[label][i] for i, f in enumerate(row)], label)
        elif name == "trades":
            top = row.index(max(row))
            bottom = max(f + eps * lipschitz[top][i] for i, f in enumerate(row) if i != top)
            total += _cross_entropy(row, label) + 0.7 * (_log_sum_exp([*row, bottom]) - _log_sum_exp(row))
        else:
            shifted = _emma_shifted(row, label, lipschitz, eps)
            shifted[label] -= 1.5
            log_p = -_cross_entropy([value / 0.6 for value in shifted], label)
            total += -0.6 * (1 - math.exp(log_p)) ** 3.0 * log_p
    return total / len(labels)


def _case(seed: int, batch: int, classes: int, randn: Randn) -> tuple[Tensor, Tensor, Tensor]:
    logits = 3 * randn(batch, classes, seed=seed)
    rows = randn(classes, 3, seed=seed + 1)
    labels = torch.randint(0, classes, (batch,), generator=torch.Generator().manual_seed(seed))
    return logits, labels, torch.cdist(rows, rows)


EXTRA: dict[str, dict[str, float]] = {
    "trades": {"lambda_": 0.7},
    "annealing": {"offset": 1.5, "temperature": 0.6, "beta": 3.0},
}


@pytest.mark.parametrize("name", ALL)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 5),
    classes=st.integers(2, 6),
    eps=st.sampled_from([0.0, 1e-9, 0.1, 36 / 255, 1.0, 50.0]),
)
def test_against_loops(name: str, seed: int, batch: int, classes: int, eps: float, randn: Randn) -> None:
    logits, labels, pair = _case(seed, batch, classes, randn)
    loss = ALL[name](logits, labels, pair_lipschitz=pair, eps=eps, **EXTRA.get(name, {}))
    assert loss.shape == ()
    assert float(loss) == pytest.approx(_by_loop(name, logits, labels, pair, eps), rel=1e-10, abs=1e-12)


def test_emma_by_hand() -> None:
    """Two classes, label 0, f = (2, 1), Lip 4, eps 0.5: reach 2, rho = 1 / 2, z' = (0, -1 + 1): log 2."""
    pair = torch.tensor([[0.0, 4.0], [4.0, 0.0]], dtype=torch.float64)

    def loss(*logits: float) -> float:
        row = torch.tensor([logits], dtype=torch.float64)
        return float(emma_loss(row, torch.tensor([0]), pair_lipschitz=pair, eps=0.5))

    assert loss(2.0, 1.0) == pytest.approx(math.log(2))
    assert loss(9.0, 1.0) == pytest.approx(math.log(1 + math.exp(-6)))  # rho = 1: the whole reach of 2
    assert loss(0.0, 3.0) == pytest.approx(math.log(1 + math.exp(3.02)))  # rho = 0.01


@pytest.mark.parametrize("name", BY_LABEL)
def test_label_rows_and_the_whole_matrix_agree(name: str, randn: Randn) -> None:
    logits, labels, pair = _case(5, 7, 4, randn)
    whole = ALL[name](logits, labels, pair_lipschitz=pair, eps=0.3)
    assert torch.equal(whole, ALL[name](logits, labels, pair_lipschitz=pair[labels], eps=0.3))
    unequal = torch.triu(pair)  # rows count, not columns
    assert torch.equal(
        ALL[name](logits, labels, pair_lipschitz=unequal, eps=0.3),
        ALL[name](logits, labels, pair_lipschitz=unequal[labels], eps=0.3),
    )


def test_a_square_matrix_is_read_as_the_whole_one(randn: Randn) -> None:
    """B == K: the labels choose its rows."""
    logits, _, pair = _case(6, 4, 4, randn)
    labels = torch.tensor([2, 2, 0, 1])
    expected = _by_loop("emma", logits, labels, pair, 0.3)
    assert float(emma_loss(logits, labels, pair_lipschitz=pair, eps=0.3)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["emma", "annealing"])
def test_rho_carries_no_gradient(name: str, randn: Randn) -> None:
    """Against autograd through the same formula with rho frozen at its value; with a live rho the gradient differs."""
    logits, labels, pair = _case(7, 6, 5, randn)
    eps = 0.3

    def formula(f: Tensor, lipschitz: Tensor, *, frozen: bool) -> Tensor:
        reach = eps * lipschitz[labels]
        gap = f - f.gather(1, labels[:, None])
        rho = (-gap / reach.clamp_min(1e-8)).clamp(0.01, 1.0)
        shifted = gap + (rho.detach() if frozen else rho) * reach
        if name == "emma":
            return F.cross_entropy(shifted, labels)
        shifted = shifted - 2.0 * F.one_hot(labels, 5)
        log_p = F.log_softmax(shifted / 0.75, dim=1)[torch.arange(6), labels]
        return (-0.75 * (1 - log_p.exp()) ** 5 * log_p).mean()

    def gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        f, lipschitz = logits.clone().requires_grad_(True), pair.clone().requires_grad_(True)
        return torch.autograd.grad(loss(f, lipschitz), (f, lipschitz))

    ours = gradients(lambda f, lipschitz: ALL[name](f, labels, pair_lipschitz=lipschitz, eps=eps))
    frozen = gradients(lambda f, lipschitz: formula(f, lipschitz, frozen=True))
    live = gradients(lambda f, lipschitz: formula(f, lipschitz, frozen=False))
    for a, b, c in zip(ours, frozen, live, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)
        assert not torch.allclose(a, c, rtol=1e-3)
        assert a.any()


@pytest.mark.parametrize("name", ["emma", "margin"])
def test_at_radius_zero_they_are_cross_entropy(name: str, randn: Randn) -> None:
    logits, labels, pair = _case(8, 6, 5, randn)
    expected = F.cross_entropy(logits, labels)
    assert torch.allclose(ALL[name](logits, labels, pair_lipschitz=pair, eps=0.0), expected, rtol=1e-12)


def test_trades_at_lambda_one_is_cross_entropy_with_the_abstain_class(randn: Randn) -> None:
    logits, labels, pair = _case(9, 6, 5, randn)
    predicted = logits.argmax(1)
    threatened = logits + 0.4 * pair[predicted]
    threatened[torch.arange(6), predicted] = -math.inf
    with_bottom = torch.cat([logits, threatened.amax(1, keepdim=True)], dim=1)
    expected = F.cross_entropy(with_bottom, labels)
    assert torch.allclose(gloro_trades_loss(logits, labels, pair_lipschitz=pair, eps=0.4, lambda_=1.0), expected)
    assert torch.allclose(
        gloro_trades_loss(logits, labels, pair_lipschitz=pair, eps=0.4, lambda_=0.0), F.cross_entropy(logits, labels)
    )


@pytest.mark.parametrize("name", ALL)
def test_gradients_against_finite_differences(name: str, randn: Randn) -> None:
    """In the logits and constants, on wrong points: rho is 0.01 there, so its missing gradient does not show."""
    logits, labels, pair = _case(10, 4, 3, randn)
    logits[torch.arange(4), labels] = logits.amin(1) - 1.0

    def loss(f: Tensor, lipschitz: Tensor) -> Tensor:
        return ALL[name](f, labels, pair_lipschitz=lipschitz, eps=0.5)

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(True), (pair + 1).requires_grad_(True)))


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_for_extreme_logits(name: str) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    pair = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1e4], [0.0, 1e4, 0.0]], requires_grad=True)
    loss = ALL[name](logits, torch.tensor([1, 2]), pair_lipschitz=pair, eps=1.0)
    loss.backward()
    assert torch.isfinite(loss)
    for value in (logits, pair):
        assert value.grad is not None and torch.isfinite(value.grad).all()


def test_wrong_shapes_are_named(randn: Randn) -> None:
    logits, labels, pair = _case(11, 6, 4, randn)
    for bad in (pair[:3], pair[0], pair[labels][:, :3]):
        for name in BY_LABEL:
            with pytest.raises(ValueError, match=r"expected \(4, 4\) or \(6, 4\)"):
                ALL[name](logits, labels, pair_lipschitz=bad, eps=0.1)
    with pytest.raises(ValueError, match=r"expected \(4, 4\)"):
        gloro_trades_loss(logits, labels, pair_lipschitz=pair[labels], eps=0.1)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 5.0])
def test_annealing_has_a_gradient_where_the_label_is_certain(beta: float) -> None:
    """A power below 1 has an infinite slope where p rounds to 1; the image beside it keeps its gradient."""
    logits, labels = torch.tensor([[60.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 0])
    pair = torch.ones(3, 3) - torch.eye(3)

    def gradient(images: slice) -> torch.Tensor:
        z = logits[images].clone().requires_grad_()
        loss = logit_annealing_loss(z, labels[images], pair_lipschitz=pair, eps=0.1, beta=beta)
        return torch.autograd.grad(loss, z)[0]

    both = gradient(slice(None))
    assert both[0].abs().max() < 1e-20
    assert torch.allclose(both[1], gradient(slice(1, None))[0] / 2)
