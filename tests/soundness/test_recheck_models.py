"""Saved models with every kind of operator, through the checker's command: honest ones, tampered ones, refused ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lip_plugin.network import Scale
from lip_plugin.network.operators import ACTIVATIONS, BUILT_IN

from ..network.test_operators import CASES, draw
from .checked_models import PROVED, REFUSED, Edit, saved, saved_with
from .loading import load_checker

KINDS, ROWS = load_checker("layer").KINDS, load_checker("kinds.activations").ROWS


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_every_kind_is_proved_or_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(KINDS) | REFUSED == BUILT_IN and not set(KINDS) & REFUSED
    assert set(ROWS) == set(ACTIVATIONS)
    for case in set(CASES) - set(PROVED):
        assert saved(case, tmp_path / case).check() == 2
        assert f"operator kind {CASES[case][0]().kind!r} is not supported" in printed(capsys)


@pytest.mark.parametrize("case", PROVED)
def test_models_are_proved_and_tampered_ones_are_caught(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(case, tmp_path / "model")
    assert max(float(str(row["radius"])) for row in model.points) > 1e-4
    assert model.check() == 0, printed(capsys)
    assert "5 radii of the library compared" in printed(capsys)
    longer = [{**row, "radius": repr(1.01 * float(str(row["radius"])))} for row in model.points]
    assert model.check(longer) == 1 and "exceeds the proved" in printed(capsys)
    if model.scale_weights(1.01):
        assert model.check() == 1, printed(capsys)
        assert "DISAGREES" in printed(capsys)


def _set(**settings: object) -> Edit:
    """Of the operator that the model is about."""
    return lambda card: card["network"][3]["settings"].update(settings)


def _in_branch(**record: object) -> Edit:
    """Of the first operator of a residual's branch."""
    return lambda card: card["network"][3]["settings"]["branch"][0].update(record)


@pytest.mark.parametrize(
    ("case", "edit", "message"),
    [
        ("celu", _set(parameter=-0.5), "activation 'celu' with parameters"),
        ("softplus", _set(parameter=0), "activation 'softplus' with parameters"),
        ("softshrink", _set(parameter=-0.1), "activation 'softshrink' with parameters"),
        ("hardtanh", _set(second=-0.4), "activation 'hardtanh' with parameters"),
        ("hardtanh", lambda card: card["network"][3]["settings"].pop("second"), "second is None"),
        ("leaky relu", _set(parameter=math.nan), "parameter is nan"),
        ("tanh", _set(function="sinh"), "activation 'sinh' is not supported"),
        ("transposed conv", _set(output_padding=[2, 0]), "none that a convolution undoes"),
        ("conv, circular", _set(padding=[7, 7, 1, 1]), "circular padding by 7 and 7 exceeds 6"),
        ("conv, reflect", _set(padding=[1, 6, 1, 1]), "reflect padding by 1 and 6 exceeds 6"),
        ("pad, reflect", _set(mode="symmetric"), "symmetric padding is not supported"),
        ("conv", _set(dilation=[9, 9]), "does not fit"),
        ("max pool", _set(kernel=[1, 1], padding=[2, 2]), "more padding than half its kernel"),
        ("max pool", _set(kernel=[2, 2], padding=[4, 4], dilation=[7, 7], stride=[1, 1]), "windows of padding alone"),
        ("l2 pool", _set(kernel=[7, 7]), "l2_pool of 7x7"),
        ("channel shuffle", _set(groups=3), "cannot reshape"),
        ("spatial shift", _set(channels=3), "spatial_shift: channels is [3], outside [0, 2]"),
        ("partial abs", _set(channels=5), "partial_abs: channels is [5], outside [0, 4]"),
        ("residual", _in_branch(kind="warp"), "operator kind 'warp' is not supported"),
        ("residual", _in_branch(kind="head"), "head with tensors"),
        ("residual of a multiple", _set(branch=[]), "residual with 0 layers"),
        ("residual of a multiple", _set(shortcut=[{"kind": "flatten", "settings": {}}]), "residual adds (4, 6, 6) to"),
        ("concat of the same", _set(second=[{"kind": "flatten", "settings": {}}]), "concat joins (4, 6, 6) and (144,)"),
        ("residual with a shortcut", _set(shortcut=[]), "residual with 3 layers and tensors"),
    ],
)
def test_what_no_bound_is_proved_for_is_refused(
    case: str, edit: Edit, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(case, tmp_path / "model")
    model.edit_card(edit)
    assert model.check() == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("bad input: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "case",
    [
        *("conv", "conv, strided, groups", "conv, reflect", "conv, circular", "transposed conv", "average pool"),
        *("max pool", "l2 pool", "pad, circular", "pad, replicate", "repeat", "minmax", "relu", "prelu"),
        *("pixel shuffle", "pixel unshuffle", "channel shuffle", "gather", "flatten", "reshape", "residual", "concat"),
        *("spatial shift", "partial abs", "offset of positions"),
    ],
)
def test_scales_are_taken_through_what_the_library_takes_them_through(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after an operator: into a weight once too often, and the bound is too small; too seldom, too large."""
    make, shape, _ = CASES[case]
    operator = make()
    scales = [Scale(draw(size[0], seed=3)) for size in (shape, operator.output_shape(shape))]
    assert saved_with([scales[0], operator, scales[1]], shape, tmp_path / "model").check() == 0, printed(capsys)
