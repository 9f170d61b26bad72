"""Writes into a frozen network while it is being proved or attacked, as another thread or foreign code would."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.bounds import NormBound
from lip_plugin.certificates import certify_blocks
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import Conv
from lip_plugin.types import Shape

from .closed_form import (
    NoAttack,
    ask,
    assert_true,
    compared,
    held_by,
    images,
    network,
    numbers,
)

DURING = {"float32": torch.float32, "float64": torch.float64}


@pytest.mark.parametrize("dtype", DURING)
def test_weights_that_change_between_blocks_end_the_proof(dtype: str) -> None:
    x = images(DURING[dtype])
    model = network(numbers(), DURING[dtype])

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        model.get_buffer("03_weight").mul_(8.0)
        yield x[2:]

    with pytest.raises(lp.ConfigError, match="changed while they were being certified"):
        certify_blocks(model, blocks())
    assert_true(ask(model, x), held_by(model), x)


@pytest.mark.parametrize("dtype", DURING)
def test_weights_that_change_and_come_back_between_blocks_are_not_certified(dtype: str) -> None:
    """The digest is the same before and after; the second block must not have been proved with the others."""
    given, x = numbers(), images(DURING[dtype])
    model = network(given, DURING[dtype])
    expected = certify_blocks(model, [x[:2], x[2:]])  # a processor may sum blocks of another size otherwise

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        model.get_buffer("03_weight").mul_(8.0)
        yield x[2:]
        model.get_buffer("03_weight").mul_(0.125)

    certificate = certify_blocks(model, blocks())
    assert certificate.digest == expected.digest
    assert torch.equal(certificate.radius, expected.radius)


@pytest.mark.parametrize("query", ["certify", "lipschitz_upper_bound"])
@pytest.mark.parametrize("restored", [True, False])
def test_a_write_while_the_bound_is_proved_reaches_no_bound_that_is_remembered(
    query: str, restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread would: once the proof has begun the weights shrink, and with them the bound."""
    given, x = numbers(1000 + 10 * restored + len(query)), images()  # weights of which nothing is remembered
    model = network(given)
    prove = Conv.lipschitz_upper_bound

    def shrinking(self: Conv, input_shape: Shape) -> NormBound:
        buffer = model.get_buffer("00_weight")
        buffer.mul_(2.0**-10)
        try:
            return prove(self, input_shape)
        finally:
            if restored:
                buffer.mul_(2.0**10)

    monkeypatch.setattr(Conv, "lipschitz_upper_bound", shrinking)
    if query == "lipschitz_upper_bound":
        lp.lipschitz_upper_bound(model)
    elif restored:
        lp.certify(model, x)
    else:
        with pytest.raises(lp.ConfigError, match="changed while"):
            lp.certify(model, x)
    monkeypatch.undo()
    assert_true(ask(network(given), x), given, x)  # the digest for which a bound was remembered
    assert_true(ask(model, x), held_by(model), x)


class WritingAttack(NoAttack):
    """Foreign code that holds the network."""

    def __init__(self, model: lp.CertifiedClassifier, act: Callable[[lp.CertifiedClassifier], object]) -> None:
        self.model, self.act = model, act

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        self.act(self.model)
        return x


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
def test_a_comparison_whose_attack_writes_into_the_network_has_no_report(factor: float) -> None:
    model, x = network(numbers()), images()
    with pytest.raises(lp.ConfigError, match="not those that were certified"):
        compared(model, x, WritingAttack(model, lambda held: held.get_buffer("00_weight").mul_(factor)))
    assert_true(ask(model, x), held_by(model), x)


def test_a_comparison_whose_attack_hooks_the_network_has_no_report() -> None:
    model, x = network(numbers()), images()
    hook: Callable[..., Tensor] = lambda module, inputs, output: output  # noqa: E731
    with pytest.raises(lp.ConfigError, match="has hooks"):
        compared(model, x, WritingAttack(model, lambda held: held.register_forward_hook(hook)))
