"""The benchmarks measure what they say: layers agree with their papers' formulas, and bytes with what was allocated."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import re
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import ImageSet
from lip_plugin.data.catalogue import get_dataset
from lip_plugin.train.objective import OBJECTIVES

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {
    "LiResNet++": ["model.width=8", "model.depth=2", "model.dense_width=16", "model.dense_depth=1"],
    "BRONet": ["model.width=8", "model.depth=2", "model.dense_width=16", "model.dense_depth=1"],
    "LipNeXt": ["model.width=48", "model.depth=2"],
}
FAMILIES = (*SMALL, "gloro", "aol", "sll", "cpl", "cayley", "soc", "lot", "aoc")


@pytest.fixture
def family_steps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("family_steps")


@pytest.fixture
def step_memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("step_memory")


def _settings(name: str) -> list[str]:
    return SMALL.get(name, ["model.width=8", "model.depth=1", "model.dense_width=16"])


def _images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_computes_what_its_formula_says(family_steps: ModuleType, name: str) -> None:
    of_logits, of_gradients = family_steps.disagreement(*family_steps.sides(name, _settings(name)), _images())
    assert of_logits < 1e-12
    if name not in family_steps.OTHER_GRADIENT:
        assert of_gradients < 1e-12


def test_a_step_is_measured_and_a_formula_of_another_function_is_refused(
    family_steps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuple(family_steps.FAMILIES) == FAMILIES
    x, y = _images(), torch.tensor([0, 1, 2])
    row = family_steps.measured("LipNeXt", x, y, seconds=0.0, settings=_settings("LipNeXt"))
    assert min(row.seconds) > 0 and row.plain_over_ours > 0
    for memory in row.memory:
        # The least that either needs: the map before every |.|, and one float64 matrix of the exponential.
        assert memory.kept >= 2 * 4 * 3 * 48 * 64 and memory.update >= 8 * 48**2
    assert row.markdown("LipNeXt", 3).count("|") == 7
    plain = family_steps.PLAIN_FEATURES
    model = type(family_steps.sides("gloro", _settings("gloro"))[0].model)
    monkeypatch.setitem(plain, model, lambda model, x, right=plain[model]: 1.001 * right(model, x))
    with pytest.raises(RuntimeError, match="gloro: logits differ"):
        family_steps.measured("gloro", x, y, settings=_settings("gloro"))


def test_bytes_for_the_backward_pass_count_each_storage_once(step_memory: ModuleType) -> None:
    weight = torch.ones(100, dtype=torch.float64, requires_grad=True)
    assert step_memory.bytes_saved(lambda: weight.exp().sum(), [weight]) == 800
    assert step_memory.bytes_saved(lambda: (weight * weight).sum(), [weight]) == 0
    both = lambda: (y := 2 * weight, (y.square() + y[:50].sin().sum()).sum())[1]  # noqa: E731
    assert step_memory.bytes_saved(both, [weight]) == 800


def test_the_peak_of_allocations(step_memory: ModuleType) -> None:
    def work() -> None:
        a = torch.ones(100_000, dtype=torch.float64)
        del a
        b = torch.ones(100_000, dtype=torch.float64)
        c = torch.ones(50_000, dtype=torch.float64)
        del b, c

    assert 1_200_000 <= step_memory.peak_bytes(work, torch.device("cpu")) < 1_210_000


def test_figures_are_written_with_what_they_are_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours twice as fast has the ratio 2; the commit is that of the checkout whatever folder is the current one."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    written: Any = importlib.import_module("written_results")
    monkeypatch.chdir(tmp_path)
    rows = [written.row("a step", 0.5, "another", 1.0, step="ours"), written.row("alone", 0.5, "none", None)]
    written.write_results(tmp_path / "new" / "figures.json", rows, width=8)
    found = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert [row["ratio"] for row in found["results"]] == [2.0, None]
    assert found["results"][0]["step"] == "ours" and found["settings"] == {"width": 8}
    assert found["versions"]["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert found["device"] and (found["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", found["commit"]))


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("families")


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("losses")


@pytest.fixture
def equal_time(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("equal_time")


def test_the_documented_table_is_of_the_recorded_runs(families: ModuleType) -> None:
    table = families.table(BENCHMARKS / "results" / "families")
    assert table.count("\n") == 1 + len(families.FAMILIES)
    assert table in (BENCHMARKS.parent / "docs" / "families.md").read_text(encoding="utf-8")


def test_the_documented_losses_are_the_recorded_runs(losses: ModuleType) -> None:
    """One network for all, at the best of the temperatures that were tried, and the table of the page."""
    results = BENCHMARKS / "results" / "losses"
    assert losses.table(results) in (BENCHMARKS.parent / "docs" / "losses.md").read_text(encoding="utf-8")
    every = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json")]
    for case, runs in losses.cases(results).items():
        ours = [one for one in every if (one["network"], one["dataset"], one["loss"]) == case]
        tried = [one for one in ours if "proved" not in one]
        if not losses.NETWORKS[case[0]].temperatures:
            assert not tried and {run["temperature"] for run in runs} == {1.0}
            continue
        scores = {one["temperature"]: one["choosing"] for one in tried}
        assert {run["temperature"] for run in runs} == {max(scores, key=lambda temperature: scores[temperature])}
        best = runs[0]["temperature"]
        assert {best / 4, 4 * best} <= set(scores)
        assert not any(one["bfloat16"] for one in (*runs, *tried))


@pytest.mark.parametrize("best", [1 / 64, 0.25, 1.0, 4.0, 256.0])
def test_temperatures_are_climbed_to_the_best(
    families: ModuleType, equal_time: ModuleType, monkeypatch: pytest.MonkeyPatch, best: float
) -> None:
    tried = set[float]()

    def measured(run: Any, *_: object, certified: bool) -> dict[str, float]:
        tried.add(run.temperature)
        assert not certified
        return {"choosing": -abs(math.log(run.temperature / best))}

    monkeypatch.setattr(equal_time, "measured", measured)
    sll = partial(families.Run, "sll")
    assert equal_time.chosen_temperature(sll, families.FIRST_TEMPERATURE, 1.0, "", Path()) == best
    assert {best / 4, best, 4 * best} <= tried


def _images_of(equal_time: ModuleType, classes: int, side: int) -> Any:
    draw = np.random.default_rng(0)

    def some(count: int) -> ImageSet:
        pixels = draw.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        return ImageSet(pixels, draw.integers(0, classes, count), "some", "train", "random", classes)

    return equal_time.Images(some(256), some(20), some(20))


def test_a_family_is_trained_for_its_time_and_certified(
    families: ModuleType, equal_time: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last rate of the schedule is near 0; what is proved is at most what is right, and shrinks with the radius."""
    monkeypatch.setattr(equal_time, "load", lambda config: _images_of(equal_time, 10, 32))
    monkeypatch.setitem(families.FAMILIES, "sll", (*families.FAMILIES["sll"], "model.width=8", "model.dense_width=16"))
    run = families.Run("sll", 1.0, 0.02, 0)
    found = equal_time.measured(run, "none", tmp_path, certified=True)
    assert found == equal_time.measured(run, "none", tmp_path, certified=True)  # from its file
    assert found["images"] % 128 == 0 and found["images"] > 0
    assert [found["clean"], *found["proved"]] == sorted([found["clean"], *found["proved"]], reverse=True)
    rates = [equal_time.learning_rate_at_share(share, 2.0, 0.05) for share in (0.05, 0.5, 0.9999)]
    assert rates == sorted(rates, reverse=True) and rates[0] == 2.0 and 0 < rates[2] < 1e-6


def test_only_data_set_and_loss_differ_between_losses(losses: ModuleType) -> None:
    """And that every loss that can be trained with is there, once; maps are equally large for all images."""
    assert set(losses.LOSSES) == set(OBJECTIVES)
    runs = [losses.Run("sll", dataset, loss, 0.25, 3.0, 0) for dataset in losses.DATASETS for loss in losses.LOSSES]
    configs = [run.config("DIR").model_dump(exclude={"dataset", "data_dir", "loss", "card"}) for run in runs]
    sides = {
        get_dataset(run.dataset).image_shape[1] // config["model"].pop("patch")
        for run, config in zip(runs, configs, strict=True)
    }
    assert sides == {8} and all(config == configs[0] for config in configs)
    assert len({run.name for run in runs}) == len(runs)
    for name, data in losses.DATASETS.items():
        assert data.classes == get_dataset(name).num_classes


def test_a_loss_is_compared_at_its_number_of_classes(
    losses: ModuleType, equal_time: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(equal_time, "load", lambda config: _images_of(equal_time, 200, 8 * config.model.patch))
    monkeypatch.setattr(losses, "SHARED", (*losses.SHARED, "model.width=8", "model.dense_width=16"))
    asked = argparse.Namespace(out=tmp_path, minutes=0.02, choose_minutes=0.01, seeds=2)
    tiny = partial(losses.Run, "sll", "tiny_imagenet", "gloro_trades")
    equal_time.compare([tiny], losses.FIRST_TEMPERATURE, "none", asked)
    files = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert sorted(one["seed"] for one in files if one["minutes"] == asked.minutes) == [0, 1]
    assert {one["temperature"] for one in files if "proved" not in one} >= {1 / 16, 1 / 4}
    rows = losses.table(tmp_path).splitlines()[2:]
    assert len(rows) == 1 and rows[0].startswith("| constant 1 (sll) | 200 (Tiny-ImageNet) | GloRo-TRADES | ")
    assert rows[0].split(" | ")[4] == "2"


def test_a_row_is_the_mean_over_seeds(equal_time: ModuleType) -> None:
    one = {"temperature": 0.25, "minutes": 0.5, "images": 3000, "clean": 50.0, "proved": [40.0, 30.0, 20.0]}
    other = {**one, "images": 6000, "clean": 51.0, "proved": [41.0, 30.0, 20.0]}
    row = equal_time.row(["sll"], [{**one, "ratio": 0.9}, {**other, "ratio": 0.8}])
    assert row == "| sll | 0.25 | 2 | 150 | 50.5 | 40.5 | 30.0 | 20.0 | 0.85 |"
    assert equal_time.row(["sll"], [{**one, "ratio": None}]).endswith("| - |")  # none of its images was certified
    assert equal_time.head("family").splitlines()[0].count("|") == row.count("|")


def test_losses_are_drawn_where_there_are_runs(losses: ModuleType, tmp_path: Path) -> None:
    done = (("cifar100", "emma", 20.0), ("cifar10", "emma", 45.0), ("cifar10", "margin", 44.0))
    for network, (dataset, loss, proved) in product(losses.NETWORKS, done):
        run = {"network": network, "dataset": dataset, "loss": loss, "minutes": 3.0, "proved": [proved, 1.0, 0.0]}
        (tmp_path / f"{network}-{dataset}-{loss}.json").write_text(json.dumps(run))
    losses.draw(tmp_path, tmp_path / "drawn.svg")
    drawn = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    for name in (
        "constant 1 (sll)",
        "learned norms (gloro)",
        "EMMA",
        "margin",
        "CIFAR-10",
        "CIFAR-100",
        "VRA at 36/255, %",
    ):
        assert f">{name}</text>" in drawn
    assert "Tiny-ImageNet" not in drawn and "GloRo-TRADES" not in drawn
    assert losses.standard_error(50.0) == pytest.approx(100 * 0.5 / 5000**0.5)


def test_the_table_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    table: Any = importlib.import_module("table")
    shown = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert table.BEGINS + table.table() + table.ENDS in shown
    names = [one["what"] for path in table.RESULTS.glob("*.json") for one in json.loads(path.read_text())["results"]]
    for target in table.TARGETS:
        assert sum(bool(re.search(target.name, name)) for name in names) == 1, target


@pytest.mark.parametrize(("file", "page"), [("peak_memory.json", "long_runs.md"), ("pictures.json", "own_images.md")])
def test_the_documented_peaks_of_memory_are_the_recorded_ones(file: str, page: str) -> None:
    recorded = json.loads((BENCHMARKS / "results" / "scaling" / file).read_text(encoding="utf-8"))
    peaks: dict[int, list[str]] = {}
    for one in recorded["results"]:
        if "peak_mib" in one:  # by command, in the order of the columns
            peaks.setdefault(one["images"], []).append(f"{one['peak_mib']:,.0f}")
    assert len(peaks) == 3
    shown = (BENCHMARKS.parent / "docs" / page).read_text(encoding="utf-8")
    for images, row in peaks.items():
        assert f"| {images:,} | {' | '.join(row)} |" in shown
