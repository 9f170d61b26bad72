"""torchattacks behind the port, against the closed-form boundary distance of linear classifiers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lip_plugin.errors import ConfigError, MissingDependencyError
from lip_plugin.evaluate.attacks import get_attack

# Specification -> (fewest classes, eps over distance at which it must break every image). CW and EAD walk along
# coordinates (Adam's signs, an L1 term) and give up early; Square is a random search; untargeted DLR has local maxima.
ATTACKS = {
    "PGDL2?steps=50": (2, 1.01),
    "PGDRSL2?steps=50&noise_sd=0.001": (2, 1.01),
    "CW": (2, 2.0),
    "DeepFool": (2, 1.01),
    "EADEN?binary_search_steps=5&max_iterations=50": (2, 2.0),
    "EADL1?binary_search_steps=5&max_iterations=50": (2, 2.0),
    "APGD?steps=50": (2, 1.01),
    "APGD?loss=dlr&steps=50": (3, 1.5),
    "APGDT?steps=50": (4, 1.01),
    "FAB": (2, 1.01),
    "FAB?multi_targeted=True": (2, 1.01),
    "Square?n_queries=300": (2, 4.0),
    "AutoAttack": (4, 1.01),
}
CASES = [(name, classes) for name, (fewest, _) in ATTACKS.items() for classes in (2, 3, 4, 10) if classes >= fewest]


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_an_attack_reaches_the_boundary_and_nothing_closer(
    linear_problem: Callable[..., Any], name: str, classes: int
) -> None:
    model, x, y, distance = linear_problem(classes)
    attack = get_attack(f"torchattacks:{name}")
    assert attack.name.partition("?")[0] == f"torchattacks:{name.partition('?')[0]}"
    if name != "AutoAttack":  # its Square takes 5000 steps where nothing falls
        assert not attack(model, x, y, eps=0.99 * float(distance.min())).success.any()
    eps = ATTACKS[name][1] * float(distance.max())
    result = attack(model, x, y, eps=eps)
    assert result.success.all()
    assert (result.distance >= distance * (1 - 1e-6)).all()
    assert (result.distance <= eps).all()


@pytest.mark.parametrize("name", ["DeepFool", "FAB", "PGDL2?steps=50"])
def test_the_distance_is_within_a_percent(linear_problem: Callable[..., Any], name: str) -> None:
    model, x, y, distance = linear_problem(10)
    result = get_attack(f"torchattacks:{name}")(model, x, y, eps=1.2 * float(distance.max()))
    assert (result.distance <= 1.01 * distance).all()


@pytest.mark.parametrize(
    ("name", "classes"), [(name, fewest - 1) for name, (fewest, _) in ATTACKS.items() if fewest > 2]
)
def test_an_attack_that_needs_more_classes_says_so(linear_problem: Callable[..., Any], name: str, classes: int) -> None:
    model, x, y, _ = linear_problem(classes)
    with pytest.raises(ConfigError, match=f"cannot attack {classes} classes, it needs {classes + 1}; use FAB"):
        get_attack(f"torchattacks:{name}")(model, x, y, eps=0.1)


@pytest.mark.parametrize("changed", [{"scale": 1e-3}, {"scale": 1e3}, {"shift": -100.0}])
@pytest.mark.parametrize("name", ["PGDL2?steps=50", "PGDRSL2?steps=50&noise_sd=0.0001", "APGD?steps=50", "CW"])
def test_size_and_sign_of_the_logits_decide_nothing(
    linear_problem: Callable[..., Any], name: str, changed: dict[str, float]
) -> None:
    attack = get_attack(f"torchattacks:{name}")
    model, x, y, distance = linear_problem(10, count=12, spread=120)
    eps = float(distance[5:7].mean()) * (1.4 if name == "CW" else 1.0)
    expected = attack(model, x, y, eps=eps).success
    assert 4 <= int(expected.sum()) <= 8
    model, x, y, _ = linear_problem(10, count=12, spread=120, **changed)
    assert int((attack(model, x, y, eps=eps).success != expected).sum()) <= 1


def test_a_float64_network_is_attacked(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(4, dtype=torch.float64)
    for name in ATTACKS:
        assert get_attack(f"torchattacks:{name}")(model, x, y, eps=4 * float(distance.max())).success.all(), name


def test_cw_moves_pixels_of_zero_and_one(linear_problem: Callable[..., Any]) -> None:
    model, _, _, _ = linear_problem(4, shape=(1, 10, 10))
    x = (torch.rand(60, 1, 10, 10, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    y = model(x).argmax(dim=1)
    reachable = get_attack("torchattacks:FAB")(model, x, y, eps=0.2).success
    assert int(reachable.sum()) >= 10
    result = get_attack("torchattacks:CW?steps=200")(model, x[reachable], y[reachable], eps=0.5)
    assert result.success.float().mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 12, 12), (1, 20, 3)])
def test_square_takes_images_that_its_start_does_not_fit(
    linear_problem: Callable[..., Any], shape: tuple[int, int, int]
) -> None:
    model, x, y, distance = linear_problem(4, shape=shape, count=2)
    square = get_attack("torchattacks:Square?n_queries=1000")
    assert square(model, x, y, eps=8 * float(distance.max())).success.all()
    # Nothing falls, so that AutoAttack comes to its Square.
    assert not get_attack("torchattacks:AutoAttack")(model, x, y, eps=0.9 * float(distance.min())).success.any()


def test_the_default_step_follows_eps(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(2)
    two_steps = get_attack("torchattacks:PGDL2?steps=2&random_start=False")
    # Two fifths of eps: the library's own 0.2 would cross this ball in one step, and never cross a large one.
    assert not two_steps(model, x, y, eps=2.4 * float(distance.min())).success.any()
    assert two_steps(model, x, y, eps=2.6 * float(distance.max())).success.all()
    longer = get_attack("torchattacks:PGDL2?steps=2&random_start=False&alpha=1.0")
    assert longer(model, x, y, eps=2.4 * float(distance.min())).success.all()


def test_the_seed_alone_decides(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(4)
    for name in ("PGDL2?steps=3", "APGD?steps=3", "Square?n_queries=50", "AutoAttack"):
        attack = get_attack(f"torchattacks:{name}")
        runs = [attack(model, x, y, eps=3 * float(distance.max()), seed=seed) for seed in (1, 1, 2)]
        assert torch.equal(runs[0].adversarial, runs[1].adversarial), name
        assert not torch.equal(runs[0].adversarial, runs[2].adversarial), name


def test_nothing_is_left_behind(linear_problem: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    model, x, y, distance = linear_problem(4)
    x.requires_grad_()
    model.train()
    generator = torch.get_rng_state()
    for name in ATTACKS:
        get_attack(f"torchattacks:{name}")(model, x, y.int(), eps=4 * float(distance.max()))
        assert torch.equal(generator, torch.get_rng_state()), name
        assert x.grad is None, name
        assert model.training, name
    assert capfd.readouterr() == ("", "")


def test_empty_batches_and_eps_zero(linear_problem: Callable[..., Any]) -> None:
    model, x, y, _ = linear_problem(4)
    for name in ATTACKS:
        attack = get_attack(f"torchattacks:{name}")
        assert attack(model, x[:0], y[:0], eps=0.1).success.shape == (0,)
        unmoved = attack(model, x, y, eps=0.0)
        assert not unmoved.success.any(), name
        assert unmoved.forwards == 0, name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchattacks:PGDL", r"no attack 'PGDL'; known: PGDL2, .*Did you mean 'PGDL2'"),
        ("torchattacks", r"no attack ''; known: PGDL2, "),
        ("torchattacks:PGD", r"torchattacks.PGD is not an L2 attack; those are: PGDL2, "),
        ("torchattacks:JSMA", r"torchattacks.JSMA is not an L2 attack"),
        ("torchattacks:PGDL2?step=3", r"no setting 'step'; known: alpha, .*Did you mean 'steps'"),
        ("torchattacks:PGDL2?eps=3", r"no setting 'eps'; known: alpha, eps_for_division, random_start, steps"),
        ("torchattacks:APGD?norm=Linf", r"no setting 'norm'"),
        ("torchattacks:CW?steps=2.5", r"steps=2.5; expected a whole number"),
        ("torchattacks:CW?c=-1", r"c=-1; expected a finite number"),
        ("torchattacks:PGDL2?random_start=1", r"random_start=1; expected True or False"),
        ("torchattacks:APGD?loss=hinge", r"loss='hinge'; expected one of ce, dlr"),
        ("torchattacks:APGD?loss=3", r"loss=3; expected a name"),
        ("torchattacks:EADEN?max_iterations=9", r"max_iterations must be at least 10"),
    ],
)
def test_what_does_not_exist_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_attack(spec)


def test_costs_follow_the_settings() -> None:
    assert get_attack("torchattacks:PGDL2?steps=50").cost == 50
    assert get_attack("torchattacks:EADEN").cost == 900
    assert get_attack("torchattacks:PGDL2").cost < get_attack("torchattacks:AutoAttack").cost


def test_the_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lip-plugin\[torchattacks\]'"):
        get_attack("torchattacks:PGDL2")
