"""What every operator must keep: tried on one instance and on inputs that its author gives."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor

from lip_plugin.certificates import certify
from lip_plugin.network import CertifiedClassifier, Operator
from lip_plugin.network.limits import check_size
from lip_plugin.submission.robustbench.execution import plain_network
from lip_plugin.testing.canary import Canary, on_images, steepest_step
from lip_plugin.testing.jacobians import largest_singular_value
from lip_plugin.train.own_networks import EstimateState, path_estimate
from lip_plugin.types import Shape
from lip_plugin.zoo.load import load_model

_UNIT, _LARGEST = 2.0**-24, 2.0**126  # of float32
_SCALES = (1.0, 1e-3, 1e6, 1e-20, 1e-41)


class OperatorTests(ABC):
    """Subclass it, name the subclass ``Test...``, and give `make` and `inputs`.

    ``looseness``: the bound may exceed the largest stretch found by this factor; set it near 1 where the bound is
    meant to be exact, and leave it where it is not. Every comparison is with a number obtained another way: explicit
    Jacobians and their SVD, float64 beside float32, the operator's own code run on neighbours.
    """

    looseness: float = float("inf")

    @abstractmethod
    def make(self) -> Operator:
        """One operator, its tensors in float32."""

    @abstractmethod
    def inputs(self) -> Tensor:
        """(B, *input_shape) float32, B >= 2, the same at every call: typical ones, away from kinks where there are
        some, of a few hundred entries at most each: explicit Jacobians are formed."""

    # -- the function -----------------------------------------------------------------------------

    def test_output_shape(self) -> None:
        operator, x = self.make(), self.inputs()
        y = operator.apply(x)
        assert tuple(y.shape) == (len(x), *operator.output_shape(_shape(x)))
        assert y.dtype == x.dtype

    def test_no_image_is_an_empty_batch(self) -> None:
        operator, x = self.make(), self.inputs()
        assert tuple(operator.apply(x[:0]).shape) == (0, *operator.output_shape(_shape(x)))

    def test_images_do_not_meet(self) -> None:
        """Nothing of a batch reaches another image of it, and nothing is remembered."""
        operator, x = self._wide(), self.inputs().double()
        together = operator.apply(x)
        alone = torch.cat([operator.apply(one[None]) for one in x])
        assert torch.allclose(together, alone, rtol=1e-9, atol=1e-12)
        assert torch.equal(operator.apply(x), together)

    def test_gradients(self) -> None:
        operator, x = self._wide(), self.inputs()[:2].double().requires_grad_()
        assert torch.autograd.gradcheck(operator.apply, (x,), eps=1e-7, atol=1e-4, rtol=1e-4)

    # -- the bound --------------------------------------------------------------------------------

    def test_bound_is_above_every_jacobian(self) -> None:
        bound = self._bound()
        stretch = max(largest_singular_value(self._wide(), one) for one in self.inputs().double())
        # Some derivatives of torch hold float32 constants (hardsigmoid), wherefore not 1e-9.
        assert stretch <= bound * (1 + 1e-7), f"a Jacobian has norm {stretch}, the bound is {bound}"
        assert bound <= self.looseness * stretch, f"the bound {bound} is {bound / stretch:.4g} times what was found"

    def test_bound_is_above_every_pair(self) -> None:
        """Far pairs and near ones, in directions that the map stretches."""
        operator, bound, x = self._wide(), self._bound(), self.inputs().double()
        for a in x:
            direction, _ = steepest_step(operator.apply, a)
            for other in (*x, a + 0.1 * direction, a - direction, a + 30.0 * direction):
                distance = float((a - other).norm())
                moved = float((operator.apply(a[None]) - operator.apply(other[None])).norm())
                assert moved <= bound * distance * (1 + 1e-9) + 1e-12

    def test_bound_covers_the_stored_numbers_alone(self) -> None:
        """float32 tensors and the same numbers in float64 are one operator: their bounds differ by rounding alone."""
        narrow, wide = self._bound(), self._wide().lipschitz_upper_bound(self._input_shape()).value
        assert abs(narrow - wide) <= 1e-3 * max(narrow, wide)

    def test_training_estimate_comes_to_the_bound_from_below(self) -> None:
        operator, shape, x = self._wide(), self._input_shape(), self.inputs().double()
        estimate = float(path_estimate([(operator, shape)], x, EstimateState(), steps=300))
        stretch = max(largest_singular_value(operator, one) for one in x)
        assert 0.97 * stretch <= estimate <= self._bound() * (1 + 1e-6), f"{stretch=}, {estimate=}, {self._bound()=}"

    # -- rounding ---------------------------------------------------------------------------------

    def test_rounding_term_covers_float32(self) -> None:
        operator, wide = self.make(), self._wide()
        term = operator.rounding_term(self._input_shape(), _UNIT)
        for scale in _SCALES:
            x = self.inputs() * scale
            error = _norms(operator.apply(x).double() - wide.apply(x.double()))
            allowed = term.relative * _norms(x.double()) + term.absolute
            assert bool((error <= allowed).all()), f"at scale {scale:g}: {error.tolist()} above {allowed.tolist()}"

    def test_float32_rounding_covers_a_ball(self) -> None:
        """What is measured at an image holds for every input near it."""
        operator, wide, shape = self.make(), self._wide(), self._input_shape()
        rounding = operator.float32_rounding(shape)
        for scale in _SCALES:
            x = (self.inputs() * scale).double()
            at = rounding(x, wide.apply(x), _norms(x) * (1 + 1e-12))
            for distance in (0.0, 1e-3, 0.5):
                near = (x + _steps(x, distance * scale)).float()
                away = _norms(near.double() - x)
                error = _norms(operator.apply(near).double() - wide.apply(near.double()))
                assert bool((error <= at.error + at.growth * away).all())

    def test_nothing_overflows_where_it_is_said_not_to(self) -> None:
        """Inputs so large that the bound of every number on the way is just below float32's largest."""
        operator, wide, shape = self.make(), self._wide(), self._input_shape()
        rounding, x = operator.float32_rounding(shape), self.inputs().double()
        scale = torch.tensor(1.0, dtype=torch.float64)
        for _ in range(200):
            larger = x * scale * 2.0
            peak = rounding(larger, wide.apply(larger), _norms(larger) * (1 + 1e-12)).peak
            if not bool((peak < _LARGEST).all()):
                break
            scale *= 2.0
        assert bool(torch.isfinite(operator.apply((x * scale).float())).all())

    # -- storage ----------------------------------------------------------------------------------

    def test_parts_give_it_back(self) -> None:
        operator, x = self.make(), self.inputs()
        settings = json.loads(json.dumps(operator.settings(), allow_nan=False))
        again = type(operator).from_parts(settings, operator.tensors())
        assert again.settings() == operator.settings() and list(again.tensors()) == list(operator.tensors())
        assert torch.equal(again.apply(x), operator.apply(x))

    def test_other_tensors_are_another_operator(self) -> None:
        """The digest sees every tensor, and `with_tensors` exchanges it."""
        operator = self.make()
        before = self._canary(operator).model.digest
        for name, value in operator.tensors().items():
            changed = value.clone()
            changed.view(-1)[-1] += 1.0
            other = operator.with_tensors({**operator.tensors(), name: changed})
            assert torch.equal(other.tensors()[name], changed) and torch.equal(operator.tensors()[name], value)
            assert _classifier(other, self._input_shape()).digest != _classifier(operator, self._input_shape()).digest
        assert self._canary(operator).model.digest == before

    def test_network_with_it_is_saved_and_proved_again(self) -> None:
        canary = self._canary(self.make())
        with tempfile.TemporaryDirectory() as place:
            canary.model.save(Path(place) / "net")
            loaded = load_model(Path(place) / "net")
        assert loaded.digest == canary.model.digest
        first, second = certify(canary.model, canary.x), certify(loaded, canary.x)
        assert torch.equal(first.radius, second.radius) and torch.equal(first.prediction, second.prediction)

    # -- in a network -----------------------------------------------------------------------------

    def test_no_radius_is_too_large_and_one_that_were_is_caught(self) -> None:
        """Two images on both sides of a boundary across the steepest direction, each the other's attack."""
        canary = self._canary(self._wide(), torch.float64)
        certificate = certify(canary.model, canary.x)
        assert certificate.prediction.tolist() == [0, 1] and bool((certificate.radius > 0).all())
        closest = canary.closest_adversarial_distance()
        radius = float(certificate.radius.min())
        assert radius < closest
        # The stretch at hand over the bound is what a radius may lose; 1 % more and the point refutes it.
        assert closest < radius * (canary.bound / canary.stretch) * 1.01

    def test_plain_form_computes_the_same(self) -> None:
        """As written for boards that know nothing but torch: bit for bit."""
        canary = self._canary(self.make())
        x = canary.x.to(canary.model.dtype)
        with torch.no_grad():
            assert torch.equal(plain_network(canary.model, "canary")(x), canary.model(x))

    def test_questions_are_answered(self) -> None:
        operator, shape = self.make(), self._input_shape()
        assert operator.describe().strip() and "\n" not in operator.describe()
        assert operator.work(shape) >= 1
        assert all(axis.taps >= 1 and axis.padded >= axis.taps for pair in operator.windows(shape) for axis in pair)
        check_size([operator], shape)

    # -- what the tests share ---------------------------------------------------------------------

    def _wide(self) -> Operator:
        return self.make().map_tensors(torch.Tensor.double)

    def _input_shape(self) -> Shape:
        return _shape(self.inputs())

    def _bound(self) -> float:
        return self.make().lipschitz_upper_bound(self._input_shape()).value

    def _canary(self, operator: Operator, dtype: torch.dtype = torch.float32) -> Canary:
        return on_images(operator, self.inputs()[0].double(), dtype)


def _classifier(operator: Operator, shape: Shape) -> CertifiedClassifier:
    """Anything that ends in a head and begins with this operator."""
    return on_images(operator, torch.zeros(shape, dtype=torch.float64), torch.float32).model


def _shape(x: Tensor) -> Shape:
    return tuple(x.shape[1:])


def _norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _steps(x: Tensor, length: float) -> Tensor:
    draws = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return length * draws / _norms(draws).view(-1, *[1] * (x.dim() - 1))
