"""Two gloo processes with half the batch each reach what one process reaches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lip_plugin.errors import ConfigError
from lip_plugin.ranks import Ranks
from lip_plugin.train.checkpoint import load_checkpoint

SIZES = {"depth": 2, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
CONFIG: dict[str, Any] = {
    "dataset": "mnist",
    "model": {
        "architecture": "liresnet_pp",
        "depth": 2,
        "width": 4,
        "dense_width": 8,
        "dense_depth": 1,
        "neck_patch": 2,
    },
    "eps": 0.1,
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "augment": {"crop": 1, "flip": True},
}
# One script for both sides: a worker of torch.distributed, and alone (without WORLD_SIZE) the reference.
WORKER = """
import json, sys, torch
import numpy as np
from pathlib import Path
from lip_plugin.data import checked_image_set
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.loop import Hooks, train
from lip_plugin.ranks import joined_ranks

torch.set_num_threads(1)
generator = np.random.default_rng(0)
pixels, labels = generator.integers(0, 256, (320, 1, 8, 8), np.uint8), generator.integers(0, 3, 320)
data = checked_image_set(pixels, labels, name="noise", source="synthetic")
config = TrainConfig.model_validate(json.loads(sys.argv[1]))
with joined_ranks("cpu") as ranks:
    train(config, data, run_dir=Path(sys.argv[2]), hooks=Hooks(ranks=ranks))
threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
assert not [name for name in threads if "gloo" in name], f"threads that may abort at exit: {threads}"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


BRONET = {"architecture": "bronet", "depth": 2, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}


def run_workers(directory: Path, *, world: int, model: dict[str, Any]) -> None:
    arguments = [sys.executable, "-c", WORKER, json.dumps({**CONFIG, "model": model}), str(directory)]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    environments = [{**shared, "RANK": str(rank)} for rank in range(world)]
    workers = [subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE) for environment in environments]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()


@pytest.mark.parametrize("model", [CONFIG["model"], BRONET], ids=["liresnet_pp", "bronet"])
def test_two_processes_reach_the_parameters_of_one(model: dict[str, Any], tmp_path: Path) -> None:
    """20 steps: parameters, running means and the reported loss agree within 1e-5."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run_workers(tmp_path / "one", world=1, model=model)
    run_workers(tmp_path / "two", world=2, model=model)
    one, two = load_checkpoint(tmp_path / "one"), load_checkpoint(tmp_path / "two")
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-5)
    start = {key: value for key, value in one["model"].items() if "running" not in key}
    assert len(start) > 5
    for key, value in one["model"].items():
        torch.testing.assert_close(two["model"][key], value, rtol=0, atol=1e-5)
    assert not torch.equal(one["model"]["backbone.running_mean"], torch.zeros(2, 4))


def test_shares_tile_the_batch() -> None:
    shares = [Ranks(rank, 4).share_of(12) for rank in range(4)]
    assert [index for share in shares for index in range(12)[share]] == list(range(12))
    with pytest.raises(ConfigError, match="does not divide by 5"):
        Ranks(0, 5).share_of(12)
