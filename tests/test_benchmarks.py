"""The benchmarks measure what they say: layers agree with their papers' formulas, and bytes with what was allocated."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import ImageSet

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


def test_the_documented_table_is_of_the_recorded_runs(families: ModuleType) -> None:
    table = families.table(BENCHMARKS / "results" / "families")
    assert table.count("\n") == 1 + len(families.FAMILIES)
    assert table in (BENCHMARKS.parent / "docs" / "families.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("best", [1 / 64, 0.25, 1.0, 4.0, 256.0])
def test_temperatures_are_climbed_to_the_best(
    families: ModuleType, monkeypatch: pytest.MonkeyPatch, best: float
) -> None:
    tried = set[float]()

    def measured(run: Any, *_: object, certified: bool) -> dict[str, float]:
        tried.add(run.temperature)
        assert not certified
        return {"choosing": -abs(math.log(run.temperature / best))}

    monkeypatch.setattr(families, "measured", measured)
    assert families.chosen_temperature("sll", 1.0, "", Path()) == best
    assert {best / 4, best, 4 * best} <= tried


def test_a_family_is_trained_for_its_time_and_certified(
    families: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last rate of the schedule is near 0; what is proved is at most what is right, and shrinks with the radius."""
    draw = np.random.default_rng(0)

    def some(count: int) -> ImageSet:
        pixels = draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        return ImageSet(pixels, draw.integers(0, 10, count), "cifar10", "train", "random", 10)

    monkeypatch.setattr(families, "load", lambda config: families.Images(some(256), some(20), some(20)))
    monkeypatch.setitem(families.FAMILIES, "sll", (*families.FAMILIES["sll"], "model.width=8", "model.dense_width=16"))
    run = families.Run("sll", 1.0, 0.02, 0)
    found = families.measured(run, "none", tmp_path, certified=True)
    assert found == families.measured(run, "none", tmp_path, certified=True)  # from its file
    assert found["images"] % 128 == 0 and found["images"] > 0
    assert [found["clean"], *found["proved"]] == sorted([found["clean"], *found["proved"]], reverse=True)
    rates = [families.learning_rate_at_share(share, 2.0, 0.05) for share in (0.05, 0.5, 0.9999)]
    assert rates == sorted(rates, reverse=True) and rates[0] == 2.0 and 0 < rates[2] < 1e-6


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
