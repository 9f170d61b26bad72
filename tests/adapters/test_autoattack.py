"""pyautoattack behind the port, against the closed-form boundary distance of linear classifiers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pyautoattack import checks

from lip_plugin.errors import ConfigError, MissingDependencyError
from lip_plugin.evaluate.attacks import get_attack

FEWEST_CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "apgd-t": 4, "fab-t": 2, "square": 2}
SHORT = {
    "apgd-ce": "autoattack:apgd-ce?n_iter=50",
    "apgd-dlr": "autoattack:apgd-dlr?n_iter=50",
    "apgd-t": "autoattack:apgd-t?n_iter=50",
    "fab-t": "autoattack:fab-t?n_iter=20",
    "square": "autoattack:square?n_queries=300",
}
# eps over distance at which the attack must break the image. Square is a random search of few steps here; the
# untargeted DLR loss has local maxima (it left 1 of 4 standing at 1.01).
REACH = {"apgd-ce": 1.01, "apgd-dlr": 1.5, "apgd-t": 1.01, "fab-t": 1.01, "square": 4.0}
CASES = [(part, classes) for part, fewest in FEWEST_CLASSES.items() for classes in (2, 3, 4, 10) if classes >= fewest]
FEW = "n_iter=50&n_queries=100"


@pytest.mark.parametrize(("part", "classes"), CASES)
def test_a_part_reaches_the_boundary_and_nothing_closer(
    linear_problem: Callable[..., Any], part: str, classes: int
) -> None:
    model, x, y, distance = linear_problem(classes)
    attack = get_attack(SHORT[part])
    assert attack.name == SHORT[part]

    below = attack(model, x, y, eps=0.99 * float(distance.min()))
    assert not below.success.any()
    eps = REACH[part] * float(distance.max())
    above = attack(model, x, y, eps=eps)
    assert above.success.all()
    assert (above.distance >= distance * (1 - 1e-6)).all()
    assert (above.distance <= eps).all()
    assert set(above.by) == {attack.name}
    if part in ("apgd-ce", "fab-t"):
        nearest = attack(model, x, y, eps=1.2 * float(distance.max())).distance
        assert (nearest <= 1.01 * distance).all()


@pytest.mark.parametrize(
    ("part", "classes"), [(part, fewest - 1) for part, fewest in FEWEST_CLASSES.items() if fewest > 2]
)
def test_a_part_that_cannot_attack_so_few_classes_says_so(
    linear_problem: Callable[..., Any], part: str, classes: int
) -> None:
    model, x, y, _ = linear_problem(classes)
    with pytest.raises(ConfigError, match=f"{part}.* cannot attack {classes} classes.*use apgd-ce.*fab-t, square"):
        get_attack(SHORT[part])(model, x, y, eps=0.1)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_the_composite_runs_for_any_number_of_classes(linear_problem: Callable[..., Any], classes: int) -> None:
    model, x, y, distance = linear_problem(classes)
    attack = get_attack(f"autoattack?{FEW}")
    result = attack(model, x, y, eps=1.01 * float(distance.max()))
    assert result.success.all()
    assert set(result.by) == {"autoattack:apgd-ce"}
    # Nothing falls, so all stages run; APGD-T spends its forwards from 4 classes on.
    below = attack(model, x, y, eps=0.99 * float(distance.min()))
    assert not below.success.any()
    targeted = get_attack("autoattack:apgd-t?n_iter=50")
    spent = targeted(model, x, y, eps=0.99 * float(distance.min())).forwards if classes >= 4 else 0
    others = sum(
        get_attack(spec)(model, x, y, eps=0.99 * float(distance.min())).forwards
        for spec in ("autoattack:apgd-ce?n_iter=50", "autoattack:fab-t?n_iter=50", "autoattack:square?n_queries=100")
    )
    assert below.forwards == spent + others


def test_the_stages_go_from_cheap_to_expensive() -> None:
    attack = get_attack("autoattack")
    assert [stage.name for stage in attack.stages] == [
        f"autoattack:{part}" for part in ("apgd-ce", "apgd-t", "fab-t", "square")
    ]
    assert [stage.cost for stage in attack.stages] == [111, 928, 1837, 5012]
    assert attack.cost == 7888
    assert get_attack("autoattack:square?n_queries=500").cost == pytest.approx(501.2)


@pytest.mark.parametrize("changed", [{"scale": 1e-3}, {"scale": 1e3}, {"shift": -100.0}])
@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t", "fab-t"])
def test_the_size_of_the_logits_decides_nothing(
    linear_problem: Callable[..., Any], part: str, changed: dict[str, float]
) -> None:
    _, _, _, distance = linear_problem(10, count=12, spread=120)
    eps = float(distance[5:7].mean())
    model, x, y, distance = linear_problem(10, count=12, spread=120, **changed)
    broken = get_attack(SHORT[part])(model, x, y, eps=eps).success
    assert not broken[distance > eps].any()
    # Reaching 1.02 times the distance is enough, so the two nearest to eps may differ.
    assert broken[distance < eps / 1.02].all()
    assert 4 <= int(broken.sum()) <= 6


def test_a_float64_network_is_attacked(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(4, dtype=torch.float64)
    for spec in SHORT.values():
        result = get_attack(spec)(model, x, y, eps=4 * float(distance.max()))
        assert result.success.all(), spec
        assert result.adversarial.dtype == torch.float64


def test_settings_reach_the_library(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(10)

    def forwards(spec: str) -> int:
        return get_attack(spec)(model, x, y, eps=0.5 * float(distance.min())).forwards

    assert forwards("autoattack:apgd-ce?n_iter=5") == forwards("autoattack:apgd-ce?n_iter=10") - 5 * len(x)
    one, two = (forwards(f"autoattack:apgd-t?n_iter=5&n_target_classes={n}") for n in (1, 2))
    assert (
        one < two < forwards("autoattack:apgd-t?n_iter=5") == forwards("autoattack:apgd-t?n_iter=5&n_target_classes=50")
    )
    assert forwards("autoattack:fab-t?n_iter=5&n_target_classes=1") < forwards("autoattack:fab-t?n_iter=5")
    assert forwards("autoattack:fab-t?n_iter=5&n_restarts=2") > forwards("autoattack:fab-t?n_iter=5")
    assert forwards("autoattack:square?n_queries=20") == forwards("autoattack:square?n_queries=10") + 10 * len(x)


def test_the_seed_alone_decides(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(4)
    for spec in ("autoattack:apgd-ce?n_iter=5", "autoattack:square?n_queries=50"):
        runs = [get_attack(spec)(model, x, y, eps=3 * float(distance.max()), seed=seed) for seed in (1, 1, 2)]
        assert torch.equal(runs[0].adversarial, runs[1].adversarial)
        assert not torch.equal(runs[0].adversarial, runs[2].adversarial)


def test_nothing_is_left_behind(
    linear_problem: Callable[..., Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def trace(*_: object) -> None:
        return None

    model, x, y, distance = linear_problem(4)
    labels, generator, before = y.int(), torch.get_rng_state(), sys.gettrace()
    sys.settrace(trace)
    try:
        get_attack("autoattack?n_iter=3&n_queries=3")(model, x, labels, eps=0.5 * float(distance.min()))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert torch.equal(generator, torch.get_rng_state())
    assert set(checks.funcs.values()) == {0}
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_flat_logits_make_no_noise(capfd: pytest.CaptureFixture[str], linear_problem: Callable[..., Any]) -> None:
    model, x, y, _ = linear_problem(4, scale=0.0)  # zero gradients: the library would warn
    result = get_attack("autoattack?n_iter=3&n_queries=3")(model, x, torch.zeros_like(y), eps=0.1)
    assert not result.success.any()
    assert capfd.readouterr() == ("", "")


def test_empty_batches_and_eps_zero(linear_problem: Callable[..., Any]) -> None:
    model, x, y, _ = linear_problem(4)
    attack = get_attack(f"autoattack?{FEW}")
    assert attack(model, x[:0], y[:0], eps=0.1).success.shape == (0,)
    unmoved = attack(model, x, y, eps=0.0)
    assert not unmoved.success.any()
    assert unmoved.forwards == 0
    assert attack(model, x, (y + 1) % 4, eps=0.0).success.all()  # misclassified as they are


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("autoattack:apgd_ce", r"no variant 'apgd_ce'; known: apgd-ce.*Did you mean 'apgd-ce'"),
        ("autoattack:fab-t?n_itr=3", r"autoattack:fab-t has no setting 'n_itr'; known: n_iter.*Did you mean 'n_iter'"),
        ("autoattack:square?n_iter=3", "no setting 'n_iter'; known: n_queries, n_restarts"),
        ("autoattack?steps=3", "autoattack has no setting 'steps'; known: n_iter, n_queries"),
        ("autoattack?n_iter=0", "n_iter=0; expected a whole number of at least 1"),
        ("autoattack:apgd-t?n_restarts=1.5", "n_restarts=1.5; expected a whole number"),
        ("autoattack:apgd-t?n_restarts=True", "n_restarts=True; expected a whole number"),
        ("autoattack:apgd-t?n_restarts=many", "n_restarts='many'; expected a whole number"),
    ],
)
def test_what_does_not_exist_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_attack(spec)


def test_the_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lip-plugin\[autoattack\]'"):
        get_attack("autoattack")
