"""The port believes no attack: scripted attacks that overshoot, return no numbers, and lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attack import AttackResult, EmpiricalAttack
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier
from lip_plugin.wrapping import wrap

Script = Callable[[AttackView, Tensor, Tensor], Tensor]


class Scripted(EmpiricalAttack):
    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.name, self._script = name, script

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return self._script(model, x, y)


class Chain(Scripted):
    def __init__(self, stages: Sequence[EmpiricalAttack]) -> None:
        super().__init__(lambda model, x, y: x, "chain")
        self._stages = tuple(stages)

    @property
    def stages(self) -> tuple[EmpiricalAttack, ...]:
        return self._stages


def step_model(dtype: torch.dtype = torch.float32, shape: tuple[int, int, int] = (1, 4, 4)) -> CertifiedClassifier:
    """Two classes; the boundary is where the mean pixel is 0.5, at a distance of |mean - 0.5| sqrt(pixels)."""
    pixels = int(np.prod(shape))
    head = nn.Linear(pixels, 2, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.stack([torch.ones(pixels), -torch.ones(pixels)]) / pixels)
        head.bias.copy_(torch.tensor([-0.5, 0.5]))
    return wrap(nn.Sequential(nn.Flatten()).eval(), head.eval(), input_shape=shape)


def grey(level: float, count: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.full((count, 1, 4, 4), level, dtype=dtype), torch.full((count,), int(level < 0.5))


def darken(amount: float) -> Script:
    return lambda model, x, y: x - amount


def failed(result: AttackResult, x: Tensor) -> bool:
    nothing = not result.success.any() and bool(result.distance.isinf().all()) and set(result.by) == {""}
    return nothing and torch.equal(result.adversarial, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [1e-6, 1e-4, 0.01, 36 / 255, 1.0])
def test_points_are_projected_and_never_stored_outside(dtype: torch.dtype, eps: float) -> None:
    model = step_model(dtype, (3, 8, 8))
    x = 0.4 * torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)  # 4 from the boundary
    y = 1 - model(x).argmax(dim=1)  # every point counts, so that what matters is where it is
    away = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    result = Scripted(lambda model, x, y: x + 10 * away)(model, x, y, eps=eps)
    exact = (result.adversarial.double() - x.double()).flatten(1).norm(dim=1)
    assert result.success.all()  # rounding to float32 must not push any of them out of a small ball
    assert (exact <= eps).all()
    assert torch.allclose(result.distance, exact, rtol=1e-12, atol=0)
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1


def test_what_stays_outside_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lip_plugin.evaluate.geometry._PROJECTIONS", 1)
    x = 0.4 * torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    result = Scripted(lambda model, x, y: x + 0.1)(step_model(), x, torch.zeros(50, dtype=torch.long), eps=1e-6)
    assert 0 < int(result.success.sum()) < 50
    assert (result.distance[result.success] <= 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_is_no_tolerance(dtype: torch.dtype) -> None:
    model, (x, y) = step_model(dtype), grey(0.75, dtype=dtype)
    boundary = 0.25 * 4
    assert failed(Scripted(darken(0.3))(model, x, y, eps=boundary * (1 - 1e-5)), x)
    result = Scripted(darken(0.3))(model, x, y, eps=boundary * (1 + 1e-5))
    assert result.success.all()
    assert (result.distance >= boundary).all()


def test_the_box_binds() -> None:
    model, (x, y) = step_model(), grey(0.75)
    # Beyond the box it would be misclassified: one pixel at -9, which is really at 0.
    one_pixel = torch.zeros(1, 1, 4, 4)
    one_pixel[..., 0, 0] = 10.0
    assert failed(Scripted(lambda model, x, y: x - one_pixel)(model, x, y, eps=20.0), x)
    # A pixel far outside takes no more of the budget than the box lets it: the others still move.
    assert Scripted(lambda model, x, y: x - one_pixel - 0.3)(model, x, y, eps=1.2).success.all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_becomes_a_point_of_the_ball(value: float) -> None:
    model, (x, y) = step_model(), grey(0.75)
    result = Scripted(lambda model, x, y: torch.full_like(x, value))(model, x, y, eps=0.5)
    assert failed(result, x)
    result = Scripted(lambda model, x, y: torch.full_like(x, value))(model, x, 1 - y, eps=0.5)
    assert result.adversarial.isfinite().all()
    assert (result.distance <= 0.5).all()


def test_lies_change_nothing() -> None:
    model, (x, y) = step_model(), grey(0.75)
    assert failed(Scripted(lambda model, x, y: x)(model, x, y, eps=5.0), x)

    def swap_the_question(view: AttackView, images: Tensor, labels: Tensor) -> Tensor:
        labels.fill_(1)
        return images.fill_(0.1)

    untouched_x, untouched_y = x.clone(), y.clone()
    assert failed(Scripted(swap_the_question)(model, x, y, eps=0.9), x)
    assert torch.equal(x, untouched_x) and torch.equal(y, untouched_y)


def test_either_forward_decides() -> None:
    """The forward that users call, and float64: the point counts, and the result says whom it fools."""
    head = nn.Linear(16, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1, 0] = 1e-7
        head.bias.fill_(100.0)
    model = wrap(nn.Sequential(nn.Flatten()).eval(), head.eval(), input_shape=(1, 4, 4))
    x, y = torch.ones(2, 1, 4, 4), torch.ones(2, dtype=torch.long)
    assert (model(x).argmax(dim=1) != y).all()  # 100 + 1e-7 is 100 in float32
    of_forward = Scripted(lambda model, x, y: x)(model, x, y, eps=1.0)
    assert of_forward.success.all() and of_forward.program == ("forward",) * 2
    of_float64 = Scripted(lambda model, x, y: x)(model, x, 1 - y, eps=1.0)
    assert of_float64.success.all() and of_float64.program == ("float64",) * 2
    assert of_forward.distance.tolist() == of_float64.distance.tolist() == [0.0, 0.0]


def test_candidates_of_another_shape_are_refused() -> None:
    model, (x, y) = step_model(), grey(0.75)
    with pytest.raises(ConfigError, match=r"'scripted' returned shape \(1, 1, 4, 4\) for \(3, 1, 4, 4\)"):
        Scripted(lambda model, x, y: x[:1])(model, x, y, eps=1.0)


def test_bisection_finds_the_boundary_on_the_line() -> None:
    model, (x, y) = step_model(torch.float64), grey(0.75, dtype=torch.float64)
    result = Scripted(darken(0.7))(model, x, y, eps=2.5)
    assert result.success.all()
    assert (result.distance >= 1.0).all()
    assert (result.distance <= 1.0 + 2.5 / 2**11).all()


def test_each_stage_gets_what_is_left() -> None:
    model = step_model()
    levels = torch.tensor([0.55, 0.65, 0.75, 0.95])
    x, y = levels.view(4, 1, 1, 1).expand(4, 1, 4, 4).contiguous(), torch.zeros(4, dtype=torch.long)
    seen: list[int] = []

    def stage(amount: float) -> EmpiricalAttack:
        def script(view: AttackView, images: Tensor, labels: Tensor) -> Tensor:
            seen.append(len(images))
            view(images)
            return images - amount

        return Scripted(script, f"minus {amount}")

    result = Chain([stage(0.1), stage(0.3), stage(0.0)])(model, x, y, eps=4.0)
    assert seen == [4, 3, 1]
    assert result.by == ("minus 0.1", "minus 0.3", "minus 0.3", "")
    assert result.success.tolist() == [True, True, True, False]
    assert result.forwards == 8
    assert torch.equal(result.adversarial[3], x[3])
    assert result.distance[:3].tolist() == pytest.approx([0.2, 0.6, 1.0], abs=2e-3)
    Chain([stage(0.6), stage(0.6)])(model, x, y, eps=4.0)
    assert seen[3:] == [4]  # nothing was left
