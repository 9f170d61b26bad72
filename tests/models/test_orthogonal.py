"""Matrices that stay orthogonal: against exact exponentials, geodesics, an independent Adam, and singular values."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lip_plugin.models.groups import StepSettings
from lip_plugin.models.layers.orthogonal import ManifoldAdam, fast_exp, haar, orthogonal_group, orthogonal_mean, polar
from lip_plugin.models.layers.orthogonal.manifold import largest_ratio

Randn = Callable[..., Tensor]


def skew(randn: Randn, size: int, norm: float, seed: int = 0) -> Tensor:
    """float64, of this Frobenius norm."""
    square = randn(size, size, seed=seed)
    matrix = square - square.mT
    return matrix * (norm / matrix.norm())


def defect(matrices: Tensor) -> float:
    """The largest | s^2 - 1 | over all singular values s."""
    return float((torch.linalg.svdvals(matrices.detach().double()).square() - 1).abs().max())


def haar_of(seed: int, *shape: int) -> Tensor:
    """float64 and exactly orthogonal to that."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return polar(haar(*shape).double())


# -- where they start -------------------------------------------------------------------------------------------------


def test_haar_matrices_are_orthogonal_and_uniform() -> None:
    """Without the signs of R the mean of the diagonal would be far from 0. The trace has variance 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        matrices = haar(4000, 4, 4)
    assert matrices.dtype == torch.float32 and defect(matrices) < 1e-6
    assert float(matrices.mean(0).abs().max()) < 0.04
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(trace.var()) - 1) < 0.1


# -- the exponential --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [math.inf, 0.9], ids=["asked", "known to be below 1"])
@pytest.mark.parametrize(("norm", "order"), [(0.049, 2), (0.051, 3), (0.249, 3), (0.251, 4), (0.999, 4)])
def test_orders_of_the_exponential(norm: float, order: int, longest: float, randn: Randn) -> None:
    """The published series for each norm, alone and in a stack with others; its error is that of the next term."""
    a = torch.stack([skew(randn, 6, norm), skew(randn, 6, 0.3, seed=1), skew(randn, 6, 0.01, seed=2)])
    series = sum(
        (torch.linalg.matrix_power(a[0], k) / math.factorial(k) for k in range(1, order + 1)), torch.eye(6).double()
    )
    for found in (fast_exp(a[:1], longest)[0], fast_exp(a, longest)[0]):
        torch.testing.assert_close(found, series, rtol=0, atol=1e-15)
    error = float(torch.linalg.matrix_norm(series - torch.linalg.matrix_exp(a[0]), 2))
    spectral = float(torch.linalg.matrix_norm(a[0], 2))
    term = spectral ** (order + 1) / math.factorial(order + 1)
    assert 0.5 * term < error < 1.5 * term


def test_long_steps_take_the_exact_exponential(randn: Randn) -> None:
    a = torch.stack([skew(randn, 5, 1.0 + 1e-9), skew(randn, 5, 0.5, seed=1), skew(randn, 5, 30.0, seed=2)])
    found, exact = fast_exp(a), torch.linalg.matrix_exp(a)
    torch.testing.assert_close(found[[0, 2]], exact[[0, 2]], rtol=0, atol=1e-13)
    assert 1e-6 < float((found[1] - exact[1]).abs().max()) < 1e-3
    assert defect(found[[0, 2]]) < 1e-12


@pytest.mark.parametrize("nesterov", [False, True])
def test_no_step_is_longer_than_the_host_knows(nesterov: bool) -> None:
    """Gradients made to be as bad as they can be, for which the bound's Cauchy-Schwarz is an equation; and others."""
    first, second = 0.9, 0.999
    for count in (1, 2, 10, 100, 3000):
        ages = torch.arange(count, dtype=torch.float64).flip(0)
        for index, shape in enumerate(((first / second) ** ages, torch.ones(count), (ages == 0).double())):
            mean = square = value = 0.0
            for value in shape.tolist():
                mean, square = first * mean + (1 - first) * value, second * square + (1 - second) * value**2
            corrected = mean / (1 - first**count)
            if nesterov:
                corrected = first * mean / (1 - first ** (count + 1)) + (1 - first) * value / (1 - first**count)
            ratio = corrected / math.sqrt(square / (1 - second**count))
            assert ratio <= largest_ratio(count, first, second, nesterov=nesterov) * (1 + 1e-9)
            if not nesterov and index == 0:
                assert ratio > (1 - 1e-9) * largest_ratio(count, first, second, nesterov=False)
    assert largest_ratio(1, first, second, nesterov=False) == pytest.approx(1.0)


# -- steps ------------------------------------------------------------------------------------------------------------


def by_hand(start: Tensor, gradients: list[Tensor], rate: float, *, nesterov: bool) -> Tensor:
    """Adam written a second time, numbers one by one, with the exact exponential."""
    x, size = start.clone(), len(start)
    mean = [[0.0] * size for _ in range(size)]
    square = [[0.0] * size for _ in range(size)]
    for step, gradient in enumerate(gradients, start=1):
        pulled = x.T @ gradient
        tangent = torch.zeros_like(x)
        for i in range(size):
            for j in range(size):
                g = float(pulled[i, j] - pulled[j, i]) / 2
                mean[i][j] = 0.9 * mean[i][j] + 0.1 * g
                square[i][j] = 0.999 * square[i][j] + 0.001 * g * g
                m = mean[i][j] / (1 - 0.9**step)
                if nesterov:
                    m = 0.9 * mean[i][j] / (1 - 0.9 ** (step + 1)) + 0.1 * g / (1 - 0.9**step)
                tangent[i, j] = -rate * m / (math.sqrt(square[i][j] / (1 - 0.999**step)) + 1e-8)
        x = x @ torch.linalg.matrix_exp(tangent)
    return x


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("rate", [1e-4, 3.0], ids=["short", "beyond the series"])
def test_steps_are_those_of_adam_in_the_algebra(nesterov: bool, rate: float, randn: Randn) -> None:
    start = haar_of(0, 2, 4, 4)
    x = nn.Parameter(start.clone())
    optimiser = ManifoldAdam([x], rate, nesterov=nesterov)
    gradients = [randn(2, 4, 4, seed=seed) for seed in range(5)]
    for gradient in gradients:
        x.grad = gradient.clone()
        optimiser.step()
    for index in range(2):
        expected = by_hand(start[index], [one[index] for one in gradients], rate, nesterov=nesterov)
        torch.testing.assert_close(x.detach()[index], expected, rtol=0, atol=1e-10)


def test_a_rotation_in_the_plane_is_an_angle() -> None:
    """Closed form: on the circle the algebra is one number, and Adam's first step is the learning rate exactly."""
    angle, rate = 0.7, 0.01

    def turn(value: float) -> Tensor:
        return torch.tensor([[math.cos(value), -math.sin(value)], [math.sin(value), math.cos(value)]]).double()

    x = nn.Parameter(turn(angle))
    optimiser = ManifoldAdam([x], rate)
    x.grad = -turn(2.0)  # the loss - <x, turn(2)> is least at the angle 2
    optimiser.step()
    torch.testing.assert_close(x.detach(), turn(angle + rate), rtol=0, atol=2e-7)  # second order, norm .014


def test_it_finds_the_nearest_rotation(randn: Randn) -> None:
    """min ||X - B|| over rotations has the closed form polar(B) where det B > 0 (orthogonal Procrustes)."""
    target = haar_of(3, 6, 6)
    target[0] *= torch.linalg.det(target).sign()
    noisy = target + 0.1 * randn(6, 6, seed=4)
    start = haar_of(5, 6, 6)
    start[0] *= torch.linalg.det(start).sign()
    x = nn.Parameter(start)
    optimiser = ManifoldAdam([x], 0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimiser.zero_grad()
        (x - noisy).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(x.detach(), polar(noisy), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("rate", "most"), [(1e-3, 2e-5), (1e-2, 2e-4)], ids=["second order", "third and fourth"])
def test_drift_over_200_steps_and_its_end(rate: float, most: float, randn: Randn) -> None:
    """float32: rounding and truncation drift off slowly, and one retraction ends it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = nn.Parameter(haar(3, 32, 32))
    start = x.detach().clone()
    group = orthogonal_group("matrices", (x,))
    assert group.update is not None
    optimiser = group.update((x,), StepSettings(rate, 0.1))
    goal = randn(3, 32, 32, seed=9, dtype=torch.float32)
    for step in range(200):
        optimiser.zero_grad()
        ((x - goal).square().sum() + (x * randn(3, 32, 32, seed=step, dtype=torch.float32)).sum()).backward()
        optimiser.step()
    assert float((x.detach() - start).norm()) > 1
    drift = defect(x)
    assert 1e-7 < drift < most
    group.retract_(group.parameters)
    assert defect(x) < 3e-7 < drift
    for name in ("mean", "square"):
        moment = optimiser.state[x][name]
        other = -moment.mT if name == "mean" else moment.mT
        torch.testing.assert_close(moment, other, rtol=1e-5, atol=1e-9)


def test_the_groups_rate_and_optimiser_follow_the_run(randn: Randn) -> None:
    x = nn.Parameter(haar_of(0, 3, 3))
    update = orthogonal_group("matrices", (x,), rate=0.5).update
    assert update is not None
    plain, ahead = update((x,), StepSettings(0.2, 1.0)), update((x,), StepSettings(0.2, 1.0, nesterov=True))
    assert plain.param_groups[0]["lr"] == ahead.param_groups[0]["lr"] == 0.1
    assert not plain.param_groups[0]["nesterov"] and ahead.param_groups[0]["nesterov"]


# -- averages and retraction ------------------------------------------------------------------------------------------


def nearest(matrix: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(matrix)
    return u @ vh


@pytest.mark.parametrize("noise", [1e-9, 1e-3, 0.05, 3.0])
def test_polar_is_the_singular_value_decomposition(noise: float, randn: Randn) -> None:
    """By iteration near the orthogonal matrices and by the decomposition far from them."""
    matrices = haar_of(1, 3, 5, 5) + noise * randn(3, 5, 5)
    torch.testing.assert_close(polar(matrices), nearest(matrices), rtol=0, atol=1e-11)
    assert defect(polar(matrices)) < 1e-13
    assert polar(matrices.float()).dtype == torch.float32
    assert defect(polar(matrices.float())) < 5e-7
    torch.testing.assert_close(polar(matrices[0]), nearest(matrices[0]), rtol=0, atol=1e-11)


def test_a_half_way_mean_is_the_middle_of_the_geodesic(randn: Randn) -> None:
    """As the manifold Lookahead of LipNeXt has it: slow FastExp(1/2 sum of steps), where the steps commute."""
    a, step = haar_of(2, 5, 5), skew(randn, 5, 0.8)
    b = a @ torch.linalg.matrix_exp(step)
    torch.testing.assert_close(orthogonal_mean(a, b, 0.5), a @ torch.linalg.matrix_exp(step / 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_means_are_the_nearest_orthogonal_matrices(weight: float, randn: Randn) -> None:
    a = haar_of(2, 2, 6, 6)
    for norm in (0.1, 1.5) if 0.01 < weight < 0.99 else (0.1, 1.5, 40.0):
        b = a @ torch.linalg.matrix_exp(torch.stack([skew(randn, 6, norm), skew(randn, 6, norm, seed=1)]))
        found = orthogonal_mean(a, b, weight)
        torch.testing.assert_close(found, nearest((1 - weight) * a + weight * b), rtol=0, atol=1e-10)
        assert defect(found) < 1e-10
