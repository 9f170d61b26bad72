"""Losses by name, and the accuracies that are shown while a model trains, against loops over images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.losses import emma_loss, gloro_trades_loss
from lip_plugin.models import LiResNetPP
from lip_plugin.train.config import AnnealingConfig
from lip_plugin.train.estimates import EstimateState, pair_lipschitz_estimate
from lip_plugin.train.objective import OBJECTIVES, accuracy_estimates

Randn = Callable[..., Tensor]


def _by_hand(logits: Tensor, labels: Tensor, pair: Tensor, eps: float) -> tuple[float, float]:
    clean = certified = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        others = [k for k in range(len(row)) if k != label]
        clean += all(row[label] > row[k] for k in others)
        certified += all((row[label] - row[k]) / float(pair[label, k]) > eps for k in others)
    return clean / len(labels), certified / len(labels)


@pytest.mark.parametrize("batch", [3, 5, 64])
def test_accuracies_against_a_loop(batch: int, randn: Randn) -> None:
    """With the whole matrix, and with label rows where the batch is smaller than the number of classes."""
    logits, labels = 3 * randn(batch, 5, seed=batch), torch.arange(batch) % 5
    logits[range(batch), labels] += 2
    pair = 0.5 + randn(5, 5, seed=1).abs()
    expected = _by_hand(logits, labels, pair, 0.7)
    assert accuracy_estimates(logits, labels, pair, 0.7).tolist() == pytest.approx(expected)
    assert batch != 64 or 0 < expected[1] < expected[0] < 1
    if batch < 5:
        assert accuracy_estimates(logits, labels, pair[labels], 0.7).tolist() == pytest.approx(expected)
    clean, unknown = accuracy_estimates(logits, labels, None, 0.7).tolist()
    assert clean == pytest.approx(expected[0]) and unknown != unknown


def test_a_tie_is_not_certified() -> None:
    found = accuracy_estimates(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), torch.ones(2, 2), 0.0)
    assert found[1] == 0


def test_objectives_are_the_losses_of_their_names(randn: Randn) -> None:
    model = LiResNetPP(
        input_shape=(1, 8, 8), num_classes=3, depth=1, width=4, dense_width=8, dense_depth=1, neck_patch=2
    )
    logits, labels = randn(6, 3, dtype=torch.float32), torch.tensor([0, 1, 2, 2, 1, 0])
    pair = pair_lipschitz_estimate(model, EstimateState()).detach()
    for name, expected in (
        ("emma", emma_loss(logits, labels, pair_lipschitz=pair, eps=0.2)),
        ("gloro_trades", gloro_trades_loss(logits, labels, pair_lipschitz=pair, eps=0.2)),
        ("cross_entropy", F.cross_entropy(logits, labels)),
    ):
        loss, used = OBJECTIVES[name](model, EstimateState(), logits, labels, 0.2)
        torch.testing.assert_close(loss, expected)
        if name == "cross_entropy":
            assert used is None
        else:
            assert used is not None
            torch.testing.assert_close(used.detach(), pair)


@pytest.mark.parametrize("temperature", [0.2, 3.0])
def test_a_temperature_divides_logits_and_constants(temperature: float, randn: Randn) -> None:
    """The loss of a network whose head were that much smaller; radii, and so what is counted as proved, stay."""
    model = LiResNetPP(
        input_shape=(1, 8, 8), num_classes=3, depth=1, width=4, dense_width=8, dense_depth=1, neck_patch=2
    )
    logits, labels = 2 * randn(6, 3, dtype=torch.float32), torch.tensor([0, 1, 2, 2, 1, 0])
    pair = pair_lipschitz_estimate(model, EstimateState()).detach()
    for name, expected in (
        ("emma", emma_loss(logits / temperature, labels, pair_lipschitz=pair / temperature, eps=0.2)),
        ("cross_entropy", F.cross_entropy(logits / temperature, labels)),
    ):
        loss, used = OBJECTIVES[name](model, EstimateState(), logits, labels, 0.2, temperature=temperature)
        torch.testing.assert_close(loss, expected)
        assert not torch.isclose(loss, OBJECTIVES[name](model, EstimateState(), logits, labels, 0.2)[0])
        if used is not None:
            torch.testing.assert_close(used.detach(), pair)


def test_annealing_takes_its_settings_from_the_recipe(randn: Randn) -> None:
    """The published ones where a recipe says nothing; the formula written out for others."""
    model = LiResNetPP(
        input_shape=(1, 8, 8), num_classes=3, depth=1, width=4, dense_width=8, dense_depth=1, neck_patch=2
    )
    logits, labels = 2 * randn(6, 3, dtype=torch.float32), torch.tensor([0, 1, 2, 2, 1, 0])
    pair = pair_lipschitz_estimate(model, EstimateState()).detach()
    published, other = AnnealingConfig(), AnnealingConfig(offset=0.5, temperature=0.3, beta=2.0)
    assert published.model_dump() == {"offset": 2.0, "temperature": 0.75, "beta": 5.0}
    found: list[Tensor] = []
    for settings in (published, other):
        objective = OBJECTIVES["logit_annealing"].with_settings({"annealing": settings.model_dump()})
        loss, _ = objective(model, EstimateState(), logits, labels, 0.2)
        reach = 0.2 * pair[labels]
        gap = logits - logits[torch.arange(6), labels][:, None]
        shifted = gap + (-gap / reach.clamp_min(1e-8)).clamp(0.01, 1.0) * reach
        shifted[torch.arange(6), labels] -= settings.offset
        p = (shifted / settings.temperature).softmax(1)[torch.arange(6), labels]
        torch.testing.assert_close(loss, (-settings.temperature * (1 - p) ** settings.beta * p.log()).mean())
        found.append(loss)
    assert not torch.isclose(found[0], found[1])
    assert OBJECTIVES["emma"].with_settings({"annealing": other.model_dump()}) is OBJECTIVES["emma"]
