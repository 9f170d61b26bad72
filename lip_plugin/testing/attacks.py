"""What every attack must keep: tried on linear classifiers, where the distance of the boundary is known."""

from __future__ import annotations

import math
import os
import random
import sys
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from lip_plugin.evaluate import AttackResult, EmpiricalAttack
from lip_plugin.network import float64_logits
from lip_plugin.testing.linear import LinearProblem, linear_problem


class AttackTests(ABC):
    """Subclass it, name the subclass ``Test...``, and give `make`.

    ``strength``: the fraction of images that must be broken where eps is ``reach`` times the distance of the
    boundary; 0 where an attack is not meant to be strong. ``classes`` and ``input_shape`` are those of the
    classifiers that it is tried on.
    """

    strength: float = 0.0
    reach: float = 1.5
    classes: tuple[int, ...] = (2, 4)
    input_shape: tuple[int, int, int] = (1, 8, 8)
    count: int = 6

    @abstractmethod
    def make(self) -> EmpiricalAttack:
        """The attack, with a budget that takes a second at most."""

    # -- what it claims ---------------------------------------------------------------------------

    def test_what_is_reported_stands(self) -> None:
        """Every success is misclassified, within eps and in the box; every failure is the image itself."""
        for problem in self._problems(spread=120):
            eps = float(problem.distance.median()) * 1.2
            result = self._run(problem, eps)
            x, points = problem.x.double(), result.adversarial.double()
            logits = float64_logits(problem.model, result.adversarial)
            wrong = logits.argmax(1) != problem.y
            reached = (points - x).flatten(1).norm(dim=1)
            assert result.adversarial.shape == problem.x.shape and result.adversarial.dtype == problem.x.dtype
            assert bool((wrong | ~result.success).all()), "a point that is counted is classified rightly"
            assert bool((reached <= eps).all()), "a point is outside the ball"
            assert float(points.min()) >= 0 and float(points.max()) <= 1, "a point is outside the box"
            assert torch.equal(result.distance[result.success], reached[result.success])
            assert bool(result.distance[~result.success].isinf().all())
            assert torch.equal(result.adversarial[~result.success], problem.x[~result.success])
            assert [bool(name) for name in result.by] == result.success.tolist()

    def test_nothing_is_found_before_the_boundary(self) -> None:
        for problem in self._problems():
            assert not bool(self._run(problem, 0.99 * float(problem.distance.min())).success.any())
            found = self._run(problem, 4 * float(problem.distance.max()))
            assert bool((found.distance >= problem.distance * (1 - 1e-6)).all())

    def test_what_is_within_reach_is_broken(self) -> None:
        """``strength`` of the images at ``reach`` times the distance; in float64 too, and whatever the logits' size."""
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"dtype": torch.float64},
            {"scale": 1e-3},
            {"scale": 1e3},
            {"shift": -100.0},
        )
        for change in changes if self.strength else ({},):
            for problem in self._problems(**change):
                result = self._run(problem, self.reach * float(problem.distance.max()))
                broken = float(result.success.float().mean())
                assert broken >= self.strength, (
                    f"{broken:.0%} are broken with {change}, {self.strength:.0%} was promised"
                )

    def test_eps_zero_and_no_image(self) -> None:
        """At eps 0 those count that are wrong already, and no others; an empty batch is an empty result."""
        problem = self._problems()[0]
        others = LinearProblem(problem.model, problem.x, (problem.y + 1) % problem.model.num_classes, problem.distance)
        result = self._run(others, 0.0)
        assert bool(result.success.all()) and not bool(result.distance.any())
        assert not bool(self._run(problem, 0.0).success.any())
        empty = LinearProblem(problem.model, problem.x[:0], problem.y[:0], problem.distance[:0])
        assert self._run(empty, 0.1).success.shape == (0,)

    def test_flat_logits_break_nothing(self) -> None:
        """No gradient anywhere, and class 0 wins every tie."""
        flat = linear_problem(self.classes[-1], count=self.count, scale=0.0, shape=self.input_shape)
        zeros = LinearProblem(flat.model, flat.x, torch.zeros_like(flat.y), flat.distance)
        assert not bool(self._run(zeros, 0.1).success.any())

    # -- manners ----------------------------------------------------------------------------------

    def test_the_seed_decides(self) -> None:
        """Whatever was drawn before."""
        for problem in self._problems():
            eps = 1.5 * float(problem.distance.max())
            first = self._run(problem, eps, seed=1)
            for draw in (lambda: torch.rand(7), lambda: np.random.rand(7), random.random):
                draw()
            second = self._run(problem, eps, seed=1)
            assert torch.equal(first.adversarial, second.adversarial) and torch.equal(first.success, second.success)

    def test_the_process_is_left_as_found(self) -> None:
        problem = self._problems()[-1]
        for mode in (torch.enable_grad, torch.no_grad):
            with mode():
                before = _surroundings()
                self._run(problem, 1.5 * float(problem.distance.max()))
                changed = [name for name, value in _surroundings().items() if value != before[name]]
                assert not changed, f"the attack has changed {', '.join(changed)}"

    def test_model_and_images_are_left_as_found(self) -> None:
        problem = self._problems()[-1]
        x, y, digest = problem.x.clone().requires_grad_(), problem.y.clone(), problem.model.digest
        for training in (False, True):
            problem.model.train(training)
            self._run(LinearProblem(problem.model, x, y, problem.distance), 1.5 * float(problem.distance.max()))
            assert problem.model.training is training and problem.model.digest == digest
            assert torch.equal(x, problem.x) and x.grad is None and torch.equal(y, problem.y)

    def test_name_and_cost(self) -> None:
        for attack in (self.make(), *self.make().stages):
            assert attack.name.strip() == attack.name and attack.name.isprintable() and attack.name
            assert math.isfinite(attack.cost) and attack.cost > 0

    # -- what the tests share ---------------------------------------------------------------------

    def _problems(
        self, spread: int = 0, scale: float = 1.0, shift: float = 0.0, dtype: torch.dtype = torch.float32
    ) -> list[LinearProblem]:
        return [
            linear_problem(
                classes,
                count=self.count,
                spread=spread,
                scale=scale,
                shift=shift,
                dtype=dtype,
                shape=self.input_shape,
            )
            for classes in self.classes
        ]

    def _run(self, problem: LinearProblem, eps: float, seed: int = 0) -> AttackResult:
        return self.make()(problem.model, problem.x, problem.y, eps=eps, seed=seed)


def _surroundings() -> dict[str, object]:
    """What an attack library may change for everybody else in the process."""
    return {
        "torch's generator": tuple(torch.get_rng_state().tolist()),
        "Python's generator": random.getstate(),
        "NumPy's generator": str(np.random.get_state()),
        "the gradient mode": torch.is_grad_enabled(),
        "the inference mode": torch.is_inference_mode_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the number of threads": torch.get_num_threads(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cuDNN's deterministic setting": torch.backends.cudnn.deterministic,
        "cuDNN's benchmark setting": torch.backends.cudnn.benchmark,
        "the precision of float32 products": torch.get_float32_matmul_precision(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "tracing": sys.gettrace(),
        "the warning filters": list(warnings.filters),
        "the environment": dict(os.environ),
        "NumPy's error handling": np.geterr(),
    }
