"""tools/on_accelerator.sh at toy size on the CPU, and what carries its images."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import lip_plugin as lp
from lip_plugin.train.checkpoint import load_checkpoint

TOOLS = Path(__file__).parent.parent / "tools"


def on_accelerator(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **{name: str(value) for name, value in settings.items()}}
    command = ["bash", str(TOOLS / "on_accelerator.sh"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def write_cifar10(folder: Path, images_per_file: int) -> tuple[str, ...]:
    """Noise in CIFAR-10's own binary files, whose names are returned."""
    generator, names = (
        np.random.default_rng(0),
        (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"),
    )
    folder.mkdir()
    for name in names:
        records = generator.integers(0, 256, (images_per_file, 3073), np.uint8)
        records[:, 0] = generator.permutation(images_per_file) % 10
        records.tofile(folder / name)
    return names


def test_a_dry_run_goes_through_all_parts(tmp_path: Path) -> None:
    ended = on_accelerator("--dry-run", tmp_path / "out")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert [part for part in ("tests", "step", "train") if f"\n{part}: done in" not in summary] == []
    step = json.loads((tmp_path / "out" / "step.json").read_text())
    assert [result["step"] for result in step["results"]] == ["ours bfloat16"]
    assert step["results"][0]["images_per_second"] > 0 and 0 < step["results"][0]["busy"] <= 1
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["log.txt", "run.tar.aa", "step.json", "summary.txt"]
    with tarfile.open(tmp_path / "out" / "run.tar.aa") as archive:
        archive.extractall(tmp_path / "run", filter="data")
    assert load_checkpoint(tmp_path / "run")["epoch"] == 1
    assert lp.load_model(tmp_path / "run").input_shape == (3, 32, 32)


def test_a_checkpoint_is_resumed_and_what_is_too_large_is_left_out_by_name(tmp_path: Path) -> None:
    """A broken checkpoint, so that little is computed: only --resume looks at it."""
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 0\n")
    (run / "checkpoint.pt").write_bytes(bytes(2**20))
    ended = on_accelerator("--dry-run", out, RUN=run, IMAGES=tmp_path, PARTS="train", RETURN_MIB=1)
    assert ended.returncode == 4 + 8, ended.stdout + ended.stderr
    assert "train: goes on from a checkpoint\ntrain: FAILED with 2" in ended.stdout
    assert "checkpoint.pt is not a checkpoint of lip train" in (out / "log.txt").read_text()
    assert "run: checkpoint.pt is too large to come back (1069056 bytes, room for" in ended.stdout
    with tarfile.open(out / "run.tar.aa") as archive:
        assert archive.getnames() == ["config.yaml"]


def test_a_part_that_fails_is_named_and_keeps_no_other_from_running(tmp_path: Path) -> None:
    ended = on_accelerator("--dry-run", tmp_path / "out", PARTS="train tests", IMAGES=tmp_path / "nothing")
    assert ended.returncode == 4
    assert "train: FAILED with 2" in ended.stdout and "tests: done" in ended.stdout
    assert "nothing" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        ((), {}, "give pack DATA_DIR, OUT or --dry-run OUT"),
        (("pack",), {}, "pack takes DATA_DIR"),
        (("--dry-run", "."), {}, "OUT is not empty"),
        (("--dry-run", "new"), {"PARTS": "tests sleep"}, "no part sleep; known: tests step train"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], settings: dict[str, str], line: str) -> None:
    ended = on_accelerator(*arguments, **settings)
    assert ended.returncode == 64
    assert line in ended.stderr and ended.stderr.count("\n") == 1


def test_sprites_give_the_binary_files_again(tmp_path: Path) -> None:
    own = tmp_path / "own"
    names = write_cifar10(own, 200)  # 1,200 images in two parts: columns of 500 and of 100
    tool = runpy.run_path(str(TOOLS / "cifar_sprites.py"))
    tool["pack"](own, tmp_path / "parts", 2)
    tool["unpack"](tmp_path / "parts", tmp_path / "back")
    assert [name for name in names if (own / name).read_bytes() != (tmp_path / "back" / name).read_bytes()] == []
    (tmp_path / "parts" / "2" / "000.webp").unlink()
    with pytest.raises(SystemExit, match="has 700 images and 1200 labels; expected 60000"):
        tool["unpack"](tmp_path / "parts", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_overlapping_intervals_count_once() -> None:
    covered = runpy.run_path(str(TOOLS.parent / "benchmarks" / "device_time.py"))["covered"]
    assert covered([(5.0, 7.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75), (7.0, 7.5)]) == 3.0 + 2.5
    assert covered([]) == 0.0
