"""One bound for several processes: bit by bit that of one, and none of another network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.bounds import NormBound
from lip_plugin.certificates import lipschitz
from lip_plugin.certificates.sharing import Proofs, prove_until, share_proofs
from lip_plugin.network import CertifiedClassifier, Conv, Dense, Flatten, Head, Residual, Scale
from lip_plugin.network.operators.proved import forget_proofs
from lip_plugin.ranks import Ranks


@pytest.fixture(autouse=True)
def nothing_is_proved() -> None:
    forget_proofs()
    lipschitz._memo.clear()  # pyright: ignore[reportPrivateUsage]


def network(seed: int) -> CertifiedClassifier:
    """Layers alone, inside others, and with a scale in their weights."""
    torch.manual_seed(seed)
    around = (1, 1, 1, 1)
    inner = (Conv(torch.randn(3, 3, 3, 3), padding=around), Conv(torch.randn(3, 3, 3, 3), padding=around))
    layers = (Conv(torch.randn(3, 1, 3, 3), padding=around), Residual(inner), Scale(torch.rand(3) + 0.5), Flatten())
    dense = Dense(torch.randn(8, 75))
    return CertifiedClassifier((*layers, dense), Head(torch.randn(3, 8), torch.zeros(3)), input_shape=(1, 5, 5))


@dataclasses.dataclass
class Other:
    """The second of two processes, which answers what `answer` makes of what it would have proved itself."""

    model: CertifiedClassifier
    answer: Callable[[Proofs], Proofs] = lambda proofs: proofs
    sent: list[Any] = dataclasses.field(default_factory=list[Any])

    def gather(self, value: Any) -> list[Any]:
        self.sent.append(value)
        if not isinstance(value, Proofs):
            return [value, None]  # that nothing has failed
        if len(self.sent) == 1:
            return [value, dataclasses.replace(value, bounds={})]
        mirror = Mirror(value)
        share_proofs(self.model, Ranks(1, 2, mirror))
        assert mirror.proved is not None
        return [value, self.answer(mirror.proved)]

    def is_awaited(self) -> bool:
        return True


@dataclasses.dataclass
class Mirror:
    """What the second process is told, and what it says."""

    first: Proofs
    proved: Proofs | None = None
    asked: int = 0

    def gather(self, value: Any) -> list[Any]:
        if not isinstance(value, Proofs):
            return [None, value]
        self.asked += 1
        if self.asked == 1:  # it knows nothing yet
            forget_proofs()
            return [dataclasses.replace(self.first, bounds={}), dataclasses.replace(value, bounds={})]
        self.proved = value
        return [self.first, value]

    def is_awaited(self) -> bool:
        return True


@pytest.mark.parametrize("effort", ["quick", "tight"])
def test_two_processes_find_the_bound_of_one(effort: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(0)
    with lp.bounds_of(effort):
        alone = lp.lipschitz_upper_bound(model)
        lipschitz._memo.clear()  # pyright: ignore[reportPrivateUsage]
        forget_proofs()
        other = Other(model)
        share_proofs(model, Ranks(0, 2, other))
        own, theirs = other.sent[2].bounds, other.sent
        assert 0 < len(own) < 6 and len(theirs) == 3

        def proved_again(*_: object) -> NormBound:
            raise AssertionError("proved again")

        for kind in (Conv, Dense):
            monkeypatch.setattr(kind, "lipschitz_upper_bound", proved_again)
        assert lp.lipschitz_upper_bound(model) == alone


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "0" * 64},
        {"effort": "tight"},
        {"bounds": {("0" * 64, (torch.float32,), (Dense,), "quick"): NormBound(0.0, "a guess")}},
    ],
    ids=["network", "effort", "layer"],
)
def test_bounds_of_something_else_are_refused(changed: dict[str, Any]) -> None:
    other = Other(network(0), lambda proofs: dataclasses.replace(proofs, **changed))
    with pytest.raises(lp.ConfigError, match=r"process 2 of 2 has proved .*; give all of them the same files"):
        share_proofs(network(0), Ranks(0, 2, other))


def test_what_cannot_be_proved_is_the_error_that_it_is_alone() -> None:
    model = network(0)
    model.operators[0].tensors()["weight"][0, 0, 0, 0] = torch.nan
    share_proofs(model, Ranks(0, 2, Other(model)))
    with pytest.raises(lp.UnsupportedLayerError, match=r"layer 0 \(conv\): weight has NaN"):
        lp.lipschitz_upper_bound(model)


def test_what_is_proved_meanwhile_is_not_proved_again() -> None:
    model, asked = network(0), list[int]()

    def enough() -> bool:
        asked.append(1)
        return len(asked) > 2

    prove_until(model, enough)
    other = Other(model)
    share_proofs(model, Ranks(0, 2, other))
    assert len(asked) == 3 and len(other.sent[0].bounds) == 2
    assert not other.sent[0].bounds.keys() & other.sent[2].bounds.keys()


def test_a_tight_bound_is_not_the_quick_one_that_was_proved_before() -> None:
    torch.manual_seed(0)
    inner = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    weight = inner.weight.detach()
    block = Residual((Conv(weight, padding=(1, 1, 1, 1)),))
    model = CertifiedClassifier((block, Flatten()), Head(torch.randn(2, 8 * 144), None), input_shape=(8, 12, 12))
    quick = lp.lipschitz_upper_bound(model)
    with lp.bounds_of("tight"):
        tight = lp.lipschitz_upper_bound(model)
    probe = torch.eye(8 * 144, dtype=torch.float64).view(-1, 8, 12, 12)
    matrix = nn.functional.conv2d(probe, weight.double(), padding=1).flatten(1)
    exact = 1 + float(torch.linalg.matrix_norm(matrix, ord=2))
    assert exact <= tight.value < quick.value
    assert tight.value == pytest.approx(exact, rel=2e-3)
