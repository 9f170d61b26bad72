"""A card's figures: what is read is written again to the letter, what no figure can be is not read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import lip_plugin as lp
from lip_plugin.schema import Figures
from lip_plugin.types import format_eps, parse_eps
from lip_plugin.zoo import ModelCard

PERCENT = st.integers(0, 100) | st.floats(0, 100)
RADII = st.floats(0, 1e6).map(format_eps) | st.sampled_from(["0.5", "36/255", "127.5/255", "1e-3"])
WORDS = st.text("abc é模 \n\t(),", max_size=20)
PROVED = st.dictionaries(RADII, PERCENT, max_size=5)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "clean_accuracy": PERCENT,
    "verified_robust_accuracy": PROVED,
    "empirical_robust_accuracy": st.dictionaries(
        RADII, st.dictionaries(st.sampled_from(["autoattack", "foolbox:DDN"]), PERCENT), max_size=5
    ),
    "images": st.integers(1, 2**53),
    "dataset": WORDS,
    "bound": WORDS,
    "lipschitz_upper_bound": st.integers(0, 2**40) | st.floats(0, 1e300),
    "arithmetic": WORDS,
    "certificate": st.sampled_from(["by construction", "estimated", "probabilistic", "not stated"]),
    "source": WORDS,
}
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Known figures, some of them null, among keys of the writer's own, in any order."""
    names = draw(
        st.lists(st.sampled_from([*KNOWN, "epochs", "hardware", "a note", "model_dump", "_order"]), unique=True)
    )
    drawn = {name: draw((KNOWN[name] | st.none()) if name in KNOWN else FREE) for name in names}
    return {**drawn, **_falling(drawn)}


def _falling(drawn: dict[str, Any]) -> dict[str, Any]:
    """The proved accuracies among what was drawn, each at most that of every smaller radius and the clean one."""
    proved = drawn.get("verified_robust_accuracy") or {}
    clean = 100 if drawn.get("clean_accuracy") is None else drawn["clean_accuracy"]
    radii = {parse_eps(eps): eps for eps in proved}  # a radius that is written twice once
    fallen = {radii[at]: min(clean, *(proved[radii[less]] for less in radii if less <= at)) for at in radii}
    return {"verified_robust_accuracy": fallen} if proved else {}


@given(documents())
def test_what_is_read_is_written_again_to_the_letter(document: dict[str, Any]) -> None:
    figures = Figures.model_validate(json.loads(json.dumps(document)))
    assert json.dumps(figures.model_dump()) == json.dumps(figures.model_dump(mode="json")) == json.dumps(document)
    assert json.loads(figures.model_dump_json()) == document
    assert Figures.model_validate(figures.model_dump()) == figures
    for name in set(KNOWN) & set(document):
        assert getattr(figures, name) == document[name]


@pytest.mark.parametrize(
    ("figures", "most"),
    [
        ({"clean_accuracy": 60.0, "verified_robust_accuracy": {"0.5": 60.1}}, "more is proved at 0.5 than the 60.0 %"),
        ({"verified_robust_accuracy": {"72/255": 40.1, "36/255": 40.0}}, "more is proved at 72/255 than the 40.0 %"),
        ({"verified_robust_accuracy": {"0.1": 5, "0.3": 4.0, "0.2": 3.0}}, "more is proved at 0.3 than the 3.0 %"),
        ({"verified_robust_accuracy": {"0.5": 40.0, "127.5/255": 40.1}}, "more is proved at 0.5 than the 40.0 %"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(figures: dict[str, Any], most: str) -> None:
    described = lp.model_card("LipPlugin2026_LiResNet_S").model_dump(mode="json", by_alias=True)
    for part in ("measured", "reported"):
        with pytest.raises(ValidationError, match=most):
            ModelCard.model_validate({**described, part: figures})
    equal = {"clean_accuracy": 60, "verified_robust_accuracy": {"36/255": 60.0, "72/255": 60}}
    assert Figures.model_validate(equal).clean_accuracy == 60


def test_a_card_holds_its_figures_in_their_order() -> None:
    described = lp.model_card("LipPlugin2026_LiResNet_S").model_dump(mode="json", by_alias=True)
    told = {"seed": 1, "clean_accuracy": 60, "a": {"b": [1]}, "images": 7}
    card = ModelCard.model_validate({**described, "reported": told})
    assert json.dumps(card.model_dump(mode="json", by_alias=True)["reported"]) == json.dumps(told)
    assert card.reported.clean_accuracy == 60 and card.reported.verified_robust_accuracy is None


def test_a_figure_that_was_changed_is_written() -> None:
    changed = Figures(clean_accuracy=50).model_copy(update={"images": 3})
    assert changed.model_dump() == {"clean_accuracy": 50, "images": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clean_accuracy", 101),
        ("clean_accuracy", -0.1),
        ("clean_accuracy", float("nan")),
        ("clean_accuracy", "88"),
        ("clean_accuracy", True),
        ("verified_robust_accuracy", {"x": 1.0}),
        ("verified_robust_accuracy", {"0.1\n": 1.0}),
        ("verified_robust_accuracy", {"1e9": 1.0}),
        ("verified_robust_accuracy", {"0.1": 101}),
        ("verified_robust_accuracy", {f"{n}/255": 1 for n in range(65)}),
        ("empirical_robust_accuracy", {"0.1": 50.0}),
        ("empirical_robust_accuracy", {"0.1": {"": 50.0}}),
        ("empirical_robust_accuracy", {"0.1": {"autoattack": float("inf")}}),
        ("images", 0),
        ("images", -1),
        ("images", 10.0),
        ("lipschitz_upper_bound", float("inf")),
        ("lipschitz_upper_bound", -1.0),
        ("certificate", "sound"),
        ("source", "\x1b[2J"),
        ("source", 1),
    ],
)
def test_what_no_figure_can_be_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Figures.model_validate({"epochs": 1, name: value})
    assert caught.value.errors()[0]["loc"][0] == name


def test_reading_needs_no_torch() -> None:
    check = "import sys, lip_plugin.schema.figures, lip_plugin.zoo.card; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
