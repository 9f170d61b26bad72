"""A canary or more per operator kind: attacks reach the certified radius, and catch one that is 1 % too large."""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

import lip_plugin as lp
from lip_plugin.bounds import NormBound, row_distance_upper_bound
from lip_plugin.network.operators import BUILT_IN, OPERATOR_KINDS
from lip_plugin.types import Shape

RULES_OF_CONVOLUTIONS = {
    "conv, patches": "disjoint windows",
    "conv, same": "explicit matrix",
    "conv, circular": "explicit matrix",
    "conv, large, circular": "circulant",
    "conv, large, circular, rows twice": "circulant with repeated rows",
    "conv, large, near the identity": "circulant along one axis",
    "conv, large": "circulant along one axis",
    "conv, large, stride 2": "circulant along one axis",
}
TIGHT_RULES = {"conv, large": "block-banded operator", "conv, large, stride 2": "block-banded operator"}
"""All but one, "circular padding times circulant embedding": a product of norms that no layer we know attains."""


def test_every_operator_kind_has_a_canary(canaries: Any) -> None:
    """A new operator without one fails here."""
    assert {canaries.kind_of(name) for name in canaries.CANARIES} == BUILT_IN


def test_attacks_reach_the_radius_and_catch_one_that_is_a_per_cent_too_large(canary: str, canaries: Any) -> None:
    """Honest radii stand and are met within 0.2 %, quick ones within 0.3 %; at 1.01 they are contradicted."""
    case = canaries.CANARIES[canary]()
    kind = canaries.kind_of(canary)
    assert kind in {layer.kind for layer in case.model.layers}
    if canary in RULES_OF_CONVOLUTIONS:
        assert canaries.rule(case, kind) == RULES_OF_CONVOLUTIONS[canary]
    assert 1.0 <= canaries.closest_call(case).inflation < (1.003 if canary in TIGHT_RULES else 1.002)
    assert canaries.is_caught(case, canaries.LIMIT, reach=1.02)


@pytest.mark.parametrize("name", TIGHT_RULES)
def test_a_tight_bound_is_reached_and_guarded_as_well(name: str, canaries: Any) -> None:
    case = canaries.CANARIES[name]()
    with lp.bounds_of("tight"):
        assert canaries.rule(case, canaries.kind_of(name)) == TIGHT_RULES[name]
        assert 1.0 <= canaries.closest_call(case).inflation < 1.002
        assert canaries.is_caught(case, canaries.LIMIT, reach=1.02)


def test_an_operator_whose_bound_is_a_per_cent_too_small_is_caught(
    canary_of_kind: str, canaries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake itself rather than its effect: the operator's own rule, through `lp.compare` and its audit."""
    case, kind = canaries.CANARIES[canary_of_kind](), canaries.kind_of(canary_of_kind)
    eps = 1.005 * float(lp.certify(case.model, case.x).radius.min())
    attack = (canaries.attack_on(case.model),)
    assert lp.compare(case.model, case.x, case.y, eps=eps, attacks=attack, audit=0).status == "ok"
    monkeypatch.setattr("lip_plugin.certificates.lipschitz._memo", OrderedDict[object, object]())
    monkeypatch.setattr("lip_plugin.network.operators.proved._proved", OrderedDict[object, object]())
    monkeypatch.setattr("lip_plugin.certificates.certificate._memo", deque[object]())
    if kind == "head":
        monkeypatch.setattr("lip_plugin.certificates.lipschitz.row_distance_upper_bound", _too_small_distances)
    else:
        honest = OPERATOR_KINDS[kind].lipschitz_upper_bound
        monkeypatch.setattr(OPERATOR_KINDS[kind], "lipschitz_upper_bound", _too_small(honest))
    with pytest.raises(lp.SoundnessError, match="unsound certificate") as caught:
        lp.compare(case.model, case.x, case.y, eps=eps, attacks=attack, audit=1)
    assert isinstance(caught.value.report, lp.Report)
    assert caught.value.report.audit.attacked_certified == 1


def _too_small(honest: Callable[[Any, Shape], NormBound]) -> Callable[[Any, Shape], NormBound]:
    def bound(operator: Any, shape: Shape) -> NormBound:
        proved = honest(operator, shape)
        return dataclasses.replace(proved, value=proved.value / 1.01)

    return bound


def _too_small_distances(weight: Tensor) -> Tensor:
    return row_distance_upper_bound(weight) / 1.01


@pytest.mark.parametrize(("factor", "code", "verdict"), [(1.0, 0, "ok: 1 of 1"), (1.02, 1, "FAILED: 0 of 1")])
def test_the_script_fails_where_an_honest_certificate_breaks(
    factor: float,
    code: int,
    verdict: str,
    canaries: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With certificates that are 2 % too large it says so."""
    honest = lp.certify
    monkeypatch.setattr(lp, "certify", lambda model, x: canaries.inflated(honest(model, x), factor))
    monkeypatch.setattr(sys, "argv", ["canaries.py", "conv, same"])
    assert canaries.main() == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(verdict)


def test_the_script_fails_where_an_inflation_is_not_caught(
    canaries: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With certificates at half their length, nothing contradicts 1.01 of it."""
    honest = lp.certify
    monkeypatch.setattr(lp, "certify", lambda model, x: canaries.inflated(honest(model, x), 0.5))
    monkeypatch.setattr(sys, "argv", ["canaries.py", "flatten"])
    assert canaries.main() == 1
    assert "NOT CAUGHT" in capsys.readouterr().out
