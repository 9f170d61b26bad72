"""Runs that version 0.1.0 started go on to the weights that version 0.1.0 came to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lip_plugin.data import ImageSet
from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.train import estimates
from lip_plugin.train.checkpoint import load_checkpoint
from lip_plugin.train.config import AnnealingConfig, load_config
from lip_plugin.train.former import settings_of_today
from lip_plugin.train.loop import check_resumable, train

GOLDEN = Path(__file__).parent / "golden"
RUNS = ["liresnet_adamw", "liresnet_pp_nadam_lookahead"]


@pytest.fixture(params=RUNS)
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "run"))


@pytest.fixture
def former_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps of power iteration, which is farther from the norm."""

    def power_iteration(gram: Callable[[Tensor], Tensor], vector: Tensor, _: int) -> Tensor:
        for _ in range(10):
            vector = torch.nn.functional.normalize(gram(vector).flatten(1), dim=1).view(vector.shape)
        return vector

    monkeypatch.setattr(estimates, "_best_in_krylov_space", power_iteration)


@pytest.mark.usefixtures("former_estimate")
def test_a_former_run_goes_on_to_its_weights(run_dir: Path, halves: Callable[[int, int], ImageSet]) -> None:
    """Five steps into the second of two epochs: 7 more steps. Other processors round apart, hence the slack."""
    config = load_config(str(run_dir / "config.yaml"), resumed=run_dir)
    saved = load_checkpoint(run_dir)
    result = train(config, halves(200, 1), run_dir=run_dir, resume=True).state_dict()
    expected = load_file(run_dir / "result.safetensors")
    assert result.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(result[key], value, rtol=1e-4, atol=1e-5)
    start = saved["average"] or saved["model"]
    assert max(float((start[key] - value).abs().max()) for key, value in expected.items()) > 1e-3


def test_settings_that_were_ignored_are_errors_in_a_new_run(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "liresnet_adamw" / "config.yaml", tmp_path / "again.yaml")
    with pytest.raises(ConfigError, match=r"unknown setting 'model\.dense_depth'"):
        load_config(str(tmp_path / "again.yaml"))


def test_they_stay_errors_where_todays_version_started_the_run() -> None:
    values = {"model": {"architecture": "liresnet", "depth": 1, "dense_depth": 2}}
    today = {"model": {"architecture": "liresnet", "depth": 1, "width": 4, "dense_width": 8}}
    assert settings_of_today(values, started_with=today) == values
    assert settings_of_today(values, started_with=None) == values
    plus = {"model": {"architecture": "liresnet_pp", "depth": 1, "dense_depth": 2}}
    assert settings_of_today(plus, started_with=plus) == plus  # there they count


def test_a_former_run_of_other_sizes_is_not_resumed(tmp_path: Path, halves: Callable[[int, int], ImageSet]) -> None:
    run_dir = Path(shutil.copytree(GOLDEN / "liresnet_adamw", tmp_path / "run"))
    config = load_config(str(run_dir / "config.yaml"), ["model.depth=2"], resumed=run_dir)
    with pytest.raises(CheckpointError, match="another config: model was"):
        train(config, halves(200, 1), run_dir=run_dir, resume=True)


def test_settings_that_came_later_are_what_they_were(run_dir: Path) -> None:
    """The golden runs know none of them: they go on with the values that these had, and with no other."""
    config = load_config(str(run_dir / "config.yaml"), resumed=run_dir)
    saved = load_checkpoint(run_dir)
    assert not {"temperature", "annealing"} & saved["config"].keys()
    check_resumable(config, saved, run_dir)
    with pytest.raises(CheckpointError, match=r"temperature was 1\.0, now 0\.5"):
        check_resumable(config.model_copy(update={"temperature": 0.5}), saved, run_dir)
    other = config.model_copy(update={"annealing": AnnealingConfig(beta=1.0)})
    with pytest.raises(CheckpointError, match="another config: annealing was"):
        check_resumable(other, saved, run_dir)
