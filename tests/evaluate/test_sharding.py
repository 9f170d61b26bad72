"""Two gloo processes report what one process reports, and fail together."""

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

from lip_plugin.errors import ConfigError, StoppedError
from lip_plugin.ranks import Ranks, joined_ranks

# One script for both sides: a worker of torch.distributed, and alone (without WORLD_SIZE) the reference.
WORKER = """
import dataclasses, importlib, json, sys, torch
import numpy as np
from pathlib import Path
from torch import nn
import lip_plugin as lp
from lip_plugin.data import ImageSet, checked_image_set
from lip_plugin.evaluate import EmpiricalAttack, Request, evaluate_images
from lip_plugin.ranks import joined_ranks
from lip_plugin.report import points_csv, report_document

torch.set_num_threads(1)
torch.manual_seed(0)
features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6)).eval()
head = nn.Linear(6, 3).eval()
with torch.no_grad():  # all classes occur, and their boundaries are near
    head.bias.copy_(-head.weight @ features(torch.rand(100, 1, 4, 4)).mean(0))
model = lp.wrap(features, head, input_shape=(1, 4, 4))
generator = np.random.default_rng(0)
pixels = generator.integers(0, 256, (50, 1, 4, 4), np.uint8)
labels = lp.certify(model, torch.from_numpy(pixels).float() / 255).prediction.numpy()
labels[::5] = (labels[::5] + 1) % 3
data = checked_image_set(pixels, labels, name="noise", source="drawn")

class Seeded(EmpiricalAttack):
    name = "seeded"

    def run(self, model, x, y, *, eps, seed):
        step = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        return x + eps * step / step.flatten(1).norm(dim=1)[:, None, None, None]

class Torn(ImageSet):
    # One picture of block 3 is unreadable: with two processes only the second one meets it.
    def blocks(self, size, dtype, *, first=0, step=1):
        for block, (x, y) in zip(range(first, 99, step), super().blocks(size, dtype, first=first, step=step)):
            if block == 3:
                raise lp.DataError("cannot read picture 27")
            yield x, y

class Defect(Seeded):
    # Only the second of two processes runs into it.
    def run(self, model, x, y, *, eps, seed):
        if ranks.world == 1 or ranks.rank == 1:
            raise ZeroDivisionError("a bug")
        return x

torn = Torn(data.pixels, data.labels, data.name, data.source)
compare = {"eps": (0.05, 0.4, 1.0), "attacks": [Seeded(), "autoattack:square?n_queries=20"], "batch_size": 8}
inflated = importlib.import_module("lip_plugin.evaluate.evaluation")
honest = inflated.certify_together

def overstated(*arguments, **settings):
    certificate = honest(*arguments, **settings)
    return dataclasses.replace(certificate, radius=certificate.radius + 0.5)

with joined_ranks("cpu", gradients=False) as ranks:
    jobs = {
        "certify": lambda: evaluate_images(model, data, Request.of((0.05, 0.4), batch_size=8), ranks=ranks),
        "aware": lambda: evaluate_images(model, data, Request.of(**compare, audit=4), ranks=ranks),
        "full": lambda: evaluate_images(
            model, data, Request.of(**compare, audit=0, skip_certified=False), ranks=ranks
        ),
        "torn": lambda: evaluate_images(model, torn, Request.of(0.1, batch_size=8), ranks=ranks),
        "bug": lambda: evaluate_images(
            model, data, Request.of(1.0, [Defect()], audit=0, batch_size=8), ranks=ranks
        ),
        "unsound": lambda: evaluate_images(model, data, Request.of(**compare, audit=4), ranks=ranks),
    }
    for name, job in jobs.items():
        inflated.certify_together = overstated if name == "unsound" else honest
        try:
            report, error = job(), ""
        except Exception as caught:
            report, error = getattr(caught, "report", None), f"{type(caught).__name__}: {caught}"
        path = Path(sys.argv[1]) / f"{name}.{ranks.rank}"
        found = {"error": error}
        if report is not None:
            found |= {"report": report_document(report), "points": points_csv(report)}
        path.write_text(json.dumps(found))
"""
JOBS = ("certify", "aware", "full", "torn", "bug", "unsound")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run_workers(directory: Path, *, world: int) -> None:
    directory.mkdir()
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(directory)],
            env={**shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors.decode()
    finally:
        for worker in workers:
            worker.kill()


Outcomes = dict[tuple[str, int, int], dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """(job, processes, rank) -> what that rank returned or raised."""
    root = tmp_path_factory.mktemp("sharding")
    found: Outcomes = {}
    for world in (1, 2):
        run_workers(root / str(world), world=world)
        for rank in range(world):
            for job in JOBS:
                found[job, world, rank] = json.loads((root / str(world) / f"{job}.{rank}").read_text())
    return found


@pytest.mark.parametrize("job", ["certify", "aware", "full", "unsound"])
def test_two_processes_report_what_one_reports(outcomes: Outcomes, job: str) -> None:
    alone = outcomes[job, 1, 0]
    for rank in range(2):
        shared = outcomes[job, 2, rank]
        assert shared["points"] == alone["points"]
        assert shared["error"] == alone["error"]
        assert shared["report"]["cost"]["attack_forwards"] == alone["report"]["cost"]["attack_forwards"]
        assert {**shared["report"], "cost": None} == {**alone["report"], "cost": None}


def test_the_attacks_had_something_to_find(outcomes: Outcomes) -> None:
    """Else two processes would agree on nothing."""
    for job in ("aware", "full"):
        points = outcomes[job, 1, 0]["points"]
        assert {"seeded", "autoattack:square"} <= {line.split(",")[6].split("?")[0] for line in points.splitlines()}
        assert {"certified", "broken", "undecided", "wrong"} <= set(points.replace("\n", ",").split(","))
    assert outcomes["aware", 1, 0]["report"]["audit"]["attacked_certified"] == 4
    assert outcomes["unsound", 1, 0]["error"].startswith("SoundnessError: unsound certificate: image ")


@pytest.mark.parametrize(
    ("job", "error"), [("torn", "DataError: cannot read picture 27"), ("bug", "ZeroDivisionError: a bug")]
)
def test_an_error_on_one_rank_is_an_error_on_all(outcomes: Outcomes, job: str, error: str) -> None:
    assert outcomes[job, 1, 0] == outcomes[job, 2, 0] == outcomes[job, 2, 1] == {"error": error}


def test_more_processes_than_gpus_are_refused_by_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they join: the ones with a GPU would wait for the others."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for rank in ("0", "1"):
        for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="2 processes on a machine with 1 GPUs"), joined_ranks("cuda"):
            pass


def test_an_error_that_cannot_travel_arrives_as_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """StoppedError does not survive a pickle; this rank raises its own error, the other one its words."""

    def work() -> None:
        raise StoppedError("stopped", 15)

    sent: list[Any] = []

    def gather(self: Ranks, value: Any) -> list[Any]:
        sent.append(value)
        return [value, None]

    monkeypatch.setattr(Ranks, "gather", gather)
    with pytest.raises(StoppedError):
        Ranks(0, 2).together(work)
    assert isinstance(sent[0], RuntimeError)
    assert str(sent[0]) == "StoppedError: stopped"
    with pytest.raises(RuntimeError, match="stopped"):
        monkeypatch.setattr(Ranks, "gather", lambda self, value: [sent[0], value])  # pyright: ignore
        Ranks(1, 2).together(lambda: None)
