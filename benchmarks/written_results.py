"""The figures of a benchmark as a file: each time beside its peer's, on which machine, with which versions."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lip_plugin.version import __version__

RESULTS = Path(__file__).parent / "results"


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="default: a file in benchmarks/results")


def row(what: str, seconds: float, peer: str, peer_seconds: float | None, **more: Any) -> dict[str, Any]:
    """One line of the file. ``ratio`` above 1: ours is faster; None where no peer was measured."""
    ratio = None if peer_seconds is None else peer_seconds / seconds
    return {"what": what, "seconds": seconds, "peer": peer, "peer_seconds": peer_seconds, "ratio": ratio, **more}


def write_results(
    path: Path, rows: Sequence[dict[str, Any]], *, device: torch.device | None = None, **settings: Any
) -> None:
    on_gpu = device is not None and device.type == "cuda"
    document = {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {"lip_plugin": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
        "settings": settings,
        "results": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'CPU'} ({platform.machine()})"


def _commit() -> str | None:
    """Of this checkout, ending in -dirty where code differs from it (figures do not count); None outside one."""
    try:
        head = _git("rev-parse", "HEAD").strip()
        elsewhere = (":/", ":(top,exclude)benchmarks/results", ":(top,exclude)*.md")
        changed = _git("diff", "--name-only", "HEAD", "--", *elsewhere)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(*words: str) -> str:
    command = ("git", "-C", str(RESULTS.parent), *words)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
