"""Models by name: listing, registering, choosing, refusing."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.zoo import registry

DEMO = "LipPlugin2026_LiResNet_Demo"


@pytest.fixture(autouse=True)
def _clean_registry() -> Generator[None]:
    before = dict(registry._registered)  # pyright: ignore[reportPrivateUsage]
    yield
    registry._registered.clear()  # pyright: ignore[reportPrivateUsage]
    registry._registered.update(before)  # pyright: ignore[reportPrivateUsage]


def save_model(directory: Path, *, name: str | None = None, dataset: str | None = None, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    lp.wrap(nn.Flatten().eval(), nn.Linear(16, 3).eval(), input_shape=(1, 4, 4)).save(directory)
    card = json.loads((directory / "card.json").read_text())
    (directory / "card.json").write_text(json.dumps({**card, "name": name or directory.name, "dataset": dataset}))
    return directory


def test_list_models_filters_by_pattern_and_dataset() -> None:
    assert DEMO in lp.list_models("*liresnet*")
    assert DEMO in lp.list_models(dataset="fashion_mnist")
    assert lp.list_models("no such*") == []
    assert lp.list_models(dataset="cifar10") == [n for n in lp.list_models() if lp.model_card(n).dataset == "cifar10"]


def test_a_directory_loads_as_it_is_and_by_name_once_registered(tmp_path: Path) -> None:
    directory = save_model(tmp_path / "mine", dataset="mnist")
    model = lp.load_model(directory)
    assert lp.load_model(str(directory)).digest == model.digest
    with pytest.raises(lp.UnknownModelError):
        lp.load_model("mine")
    lp.register_model(directory)
    assert "mine" in lp.list_models(dataset="mnist")
    assert lp.load_model("mine").digest == model.digest


def test_a_taken_name_needs_replace(tmp_path: Path) -> None:
    first = save_model(tmp_path / "a", name="same", dataset="mnist")
    second = save_model(tmp_path / "b", name="same", dataset="mnist", seed=1)
    lp.register_model(first)
    with pytest.raises(lp.ConfigError, match="replace=True"):
        lp.register_model(second)
    with pytest.raises(lp.ConfigError, match="replace=True"):
        lp.register_model(save_model(tmp_path / "c", name=DEMO, dataset="fashion_mnist"))
    lp.register_model(second, replace=True)
    assert lp.load_model("same").digest == lp.load_model(second).digest


def test_one_name_for_two_data_sets_must_be_chosen(tmp_path: Path) -> None:
    for dataset, seed in (("mnist", 0), ("cifar10", 1)):
        lp.register_model(save_model(tmp_path / dataset, name="both", dataset=dataset, seed=seed))
    with pytest.raises(lp.ConfigError, match="mnist"):
        lp.load_model("both")
    assert lp.load_model("both", dataset="cifar10").digest == lp.load_model(tmp_path / "cifar10").digest
    with pytest.raises(lp.UnknownModelError, match="cifar100"):
        lp.load_model("both", dataset="cifar100")


def test_errors_name_what_came_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(lp.UnknownModelError, match=f"Did you mean '{DEMO}'"):
        lp.load_model(DEMO.lower())
    with pytest.raises(lp.ConfigError, match="'Linf'"):
        lp.load_model(DEMO, threat_model="Linf")
    with pytest.raises(lp.CheckpointError, match="not a model directory"):
        lp.load_model(tmp_path / "missing")
    with pytest.raises(lp.ConfigError, match="no weights"):
        lp.register_model(lp.model_card(DEMO))


def test_reported_figures_and_names_do_not_reach_the_certificate(tmp_path: Path) -> None:
    """A card that claims the world loads as the network it is."""
    directory = save_model(tmp_path / "liar")
    honest = lp.lipschitz_upper_bound(lp.load_model(directory)).value
    card = json.loads((directory / "card.json").read_text())
    card |= {"reported": {"lipschitz": 1e-9}, "measured": {"verified_robust_accuracy": {"1": 100.0}}}
    (directory / "card.json").write_text(json.dumps(card))
    assert lp.lipschitz_upper_bound(lp.load_model(directory)).value == honest


def test_a_data_set_fills_an_empty_card_and_contradicts_no_other(tmp_path: Path) -> None:
    empty, named = save_model(tmp_path / "empty"), save_model(tmp_path / "named", dataset="mnist")
    assert (
        lp.model_card(str(empty), dataset="cifar10").dataset == "cifar10" and lp.model_card(str(empty)).dataset is None
    )
    with pytest.raises(lp.UnknownModelError, match="is a model for mnist, not for cifar10"):
        lp.model_card(str(named), dataset="cifar10")
