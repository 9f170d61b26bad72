"""What every trainable architecture must keep: tried on one set of small sizes that its author gives."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import pydantic
import torch
import yaml
from torch import Tensor

from lip_plugin.certificates import certify, lipschitz_upper_bound
from lip_plugin.data import dataset_names
from lip_plugin.models import ArchitectureConfig, CertifiableModel, freeze
from lip_plugin.models.architecture import ARCHITECTURES, architecture_class
from lip_plugin.models.groups import ParameterGroup, check_groups
from lip_plugin.testing.jacobians import linear_matrix, network_jacobian_norm
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.estimates import EstimateState, feature_lipschitz_estimate
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step
from lip_plugin.zoo.load import load_model

_STEPS = 20


class ArchitectureTests(ABC):
    """Subclass it, name the subclass ``Test...``, and give `make`.

    ``input_shape`` and ``num_classes`` are what the models are built for: a few hundred pixels at most, since
    explicit matrices are formed. ``looseness``: the proved bound and the product of the norms that training estimates,
    in which what is left out counts as 1, may differ by this factor. ``learning_rate`` is that of 20 AdamW steps on
    one batch. Every comparison is with a number obtained another way: SVD of explicit matrices, the frozen network
    beside the model, float64 beside float32.
    """

    input_shape: tuple[int, int, int] = (1, 8, 8)
    num_classes: int = 3
    looseness: float = 1.02
    learning_rate: float = 0.01

    @abstractmethod
    def make(self) -> ArchitectureConfig:
        """The settings of a model of a few thousand weights."""

    # -- settings ---------------------------------------------------------------------------------

    def test_settings_are_read_back(self) -> None:
        """From the JSON of a checkpoint and the YAML of a recipe; a setting that it does not have is an error."""
        config = self.make()
        kind, values = type(config), json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
        assert kind.name() and values["architecture"] == kind.name()
        assert kind.model_validate(values) == config == kind.model_validate(yaml.safe_load(yaml.safe_dump(values)))
        assert config.description().strip() and "\n" not in config.description()
        try:
            kind.model_validate({**values, "no_such_setting": 1})
        except pydantic.ValidationError:
            pass
        else:
            raise AssertionError(f"{kind.__name__} takes a setting that it does not have")
        if kind.name() in ARCHITECTURES.names():
            assert architecture_class(kind.name()) is kind

    def test_weights_depend_on_the_seed_alone(self) -> None:
        first, again, other = (_weights(self._built(seed)) for seed in (0, 0, 1))
        assert all(torch.equal(value, again[name]) for name, value in first.items())
        assert any(not torch.equal(value, other[name]) for name, value in first.items())

    def test_state_dict_holds_everything(self) -> None:
        """Another model with these weights is the same network: nothing is kept beside them."""
        model, other = self._changed(seed=0), self._changed(seed=1)
        assert freeze(other).digest != freeze(model).digest
        other.load_state_dict(model.state_dict())
        assert freeze(other).digest == freeze(model).digest

    # -- freezing ---------------------------------------------------------------------------------

    def test_freeze_computes_the_same(self) -> None:
        """In float64, with no parameter or buffer at its initial value."""
        model, x = self._changed(), self._images(6).double()
        network = freeze(model)
        assert network.input_shape == self.input_shape and network.num_classes == self.num_classes
        model.eval()
        with torch.no_grad():
            for found, expected in ((network.features(x), model.features(x)), (network(x), model(x))):
                assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))
                assert float(expected.std(dim=0).max()) > 0, "the model is a constant"

    def test_freezing_leaves_the_model_alone(self) -> None:
        model, x = self._changed().train(), self._images(2).double()
        before = copy.deepcopy(model.state_dict())
        network = freeze(model)
        assert all(module.training for module in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
        assert freeze(model.eval()).digest == network.digest, "freezing depends on the mode"
        logits = network(x)
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                value.mul_(1.5)
        assert torch.equal(network(x), logits), "the network shares its weights with the model"
        assert freeze(model).digest != network.digest

    def test_network_is_saved_and_proved_again(self) -> None:
        network, x = freeze(self._built()), self._images(4)
        with tempfile.TemporaryDirectory() as place:
            network.save(Path(place) / "net")
            loaded = load_model(Path(place) / "net")
        assert loaded.digest == network.digest
        first, second = certify(network, x), certify(loaded, x)
        assert torch.equal(first.radius, second.radius) and torch.equal(first.prediction, second.prediction)

    def test_bound_is_above_every_jacobian(self) -> None:
        network = freeze(self._changed())
        bound = lipschitz_upper_bound(network).value
        found = max(network_jacobian_norm(network, one) for one in self._images(3).double())
        assert 0 < found <= bound * (1 + 1e-9)

    # -- what training counts ---------------------------------------------------------------------

    def test_estimates_reach_the_norms_from_below(self) -> None:
        """Each map against the SVD of its matrix, which its proved bound covers."""
        model = self._changed()
        norms = 1.0
        for estimated in model.estimated_maps():
            norm = float(torch.linalg.matrix_norm(linear_matrix(estimated.operator, estimated.input_shape), 2))
            assert norm <= estimated.operator.lipschitz_upper_bound(estimated.input_shape).value * (1 + 1e-9)
            norms *= norm
        estimate = _converged_estimate(model)
        assert 0.99 * norms <= estimate <= norms * (1 + 1e-4)

    def test_estimates_send_gradients(self) -> None:
        model = self._changed()
        estimate = feature_lipschitz_estimate(model, EstimateState())
        if model.estimated_maps():
            assert estimate.requires_grad, "the tensors of the estimated maps are detached"
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(estimate, parameters, allow_unused=True)
            assert any(one is not None and bool(one.any()) for one in gradients)

    def test_training_counts_what_is_proved(self) -> None:
        """Where the proved bound is larger than the product of estimates, training optimises radii that do not exist;
        where it is smaller, others than there are. With changed weights, and after steps with weight decay.
        """
        for model in (self._changed().float(), self._trained().model):
            bound, estimate = lipschitz_upper_bound(freeze(model)).value, _converged_estimate(model)
            assert 1 / self.looseness <= bound / estimate <= self.looseness, f"{bound} is proved, {estimate} counted"

    # -- training ---------------------------------------------------------------------------------

    def test_gradients_reach_every_parameter(self) -> None:
        model = self._changed().train()
        logits = model(self._images(8).double())
        (logits * torch.randn(logits.shape, generator=_generator(), dtype=logits.dtype)).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.any()), f"no gradient reaches {name}"
            assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"

    def test_groups_stay_on_their_sets(self) -> None:
        """After steps with weight decay, in the model and in its running average."""
        state = self._trained()
        start = self._built(seed=0)
        check_groups(start.parameter_groups(), start)
        for model in filter(None, (state.model, state.average)):
            for group in model.parameter_groups():
                off = max((_distance_from_set(group, value) for value in group.parameters), default=0.0)
                assert off <= 1e-5, f"{group.name} is {off} off its set"
        moved = [
            name for name, value in state.model.named_parameters() if not torch.equal(value, start.get_parameter(name))
        ]
        assert moved == [name for name, _ in start.named_parameters()], "some parameters never move"

    def test_training_lowers_the_loss(self) -> None:
        """20 steps on one batch of images whose classes differ in brightness."""
        state = self._trained()
        assert all(map(math.isfinite, state.losses))
        assert min(state.losses[-5:]) < state.losses[0], f"the loss went {state.losses[0]} -> {state.losses[-1]}"
        network = freeze(state.result)
        assert math.isfinite(lipschitz_upper_bound(network).value)

    def test_training_goes_on_from_a_checkpoint(self) -> None:
        """A step after everything was stored and read back is the step that was due, to the bit."""
        config, whole = self._config(), self._trained()
        x, y = self._batch()
        other = initial_state(config, input_shape=self.input_shape, num_classes=self.num_classes)
        other.load_state_dict(copy.deepcopy(whole.state_dict()))
        for state in (whole, other):
            state.model.train()
            train_step(config, state, x, y, config.eps)
        after = other.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in whole.model.state_dict().items())

    # -- what the tests share ---------------------------------------------------------------------

    def _built(self, seed: int = 0) -> CertifiableModel:
        """As a run builds it, every group on its set."""
        config = self._config(seed=seed)
        return initial_state(config, input_shape=self.input_shape, num_classes=self.num_classes).model

    def _changed(self, seed: int = 0) -> CertifiableModel:
        """In float64, every parameter and buffer away from its initial value, every group on its set."""
        model, generator = self._built(seed).double(), _generator(seed)
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                if value.is_floating_point():
                    value += 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for group in model.parameter_groups():
            group.retract_(group.parameters)
        return model

    def _trained(self) -> TrainState:
        config = self._config()
        state = initial_state(config, input_shape=self.input_shape, num_classes=self.num_classes)
        x, y = self._batch()
        state.model.train()
        for _ in range(_STEPS):
            state.losses.append(float(train_step(config, state, x, y, config.eps)[0]))
        return state

    def _config(self, seed: int = 0) -> TrainConfig:
        """AdamW with weight decay; with Lookahead and an average where every group can be averaged."""
        architecture = self.make()
        groups = architecture.build(input_shape=self.input_shape, num_classes=self.num_classes).parameter_groups()
        averaged = all(group.can_be_averaged for group in groups)
        return TrainConfig.model_validate(
            {
                "dataset": dataset_names()[0],  # a name that exists; no image of it is read
                "model": architecture,
                "eps": 0.02,
                "epochs": 1,
                "learning_rate": self.learning_rate,
                "weight_decay": 1.0,
                "lookahead": averaged,
                "weight_average": 0.9 if averaged else 0.0,
                "seed": seed,
            }
        )

    def _images(self, count: int) -> Tensor:
        """(count, *input_shape) in [0,1]"""
        return torch.rand(count, *self.input_shape, generator=_generator())

    def _batch(self) -> tuple[Tensor, Tensor]:
        y = torch.arange(12) % self.num_classes
        brightness = (y.float() + 0.5) / self.num_classes
        return (0.3 * (self._images(12) - 0.5) + brightness[:, None, None, None]).clamp(0, 1), y


def _converged_estimate(model: CertifiableModel) -> float:
    return float(feature_lipschitz_estimate(model, EstimateState(), steps=400).detach())


def _distance_from_set(group: ParameterGroup, value: Tensor) -> float:
    """How far retraction moves an entry at most, relative to the largest one where that is above 1."""
    if group.retract is None:
        return 0.0
    value = value.detach()
    return float((group.retract(value) - value).abs().max()) / max(1.0, float(value.abs().max()))


def _weights(model: CertifiableModel) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
