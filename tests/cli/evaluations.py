"""Evaluations of six blocks of four images, and whether two of them came out the same."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lip_plugin.cli import run

Lip = Callable[..., Any]

_CHEAP = "autoattack:apgd-ce?n_iter=5,autoattack:square?n_queries=20"
COMMANDS = {
    "compare": ["compare", "--attacks", _CHEAP, "--audit", "0"],
    "audited": ["compare", "--attacks", _CHEAP, "--audit", "2"],
    "full": ["compare", "--attacks", _CHEAP, "--no-skip-certified"],
    "certify": ["certify"],
    "submit": ["submit", "--board", "own", "--attacks", _CHEAP, "--audit", "2"],
}


def words(name: str, model_dir: Path, data_file: Path) -> list[str]:
    """The command of that name, but for where it writes."""
    verb, *options = COMMANDS[name]
    images = ["--data", f"npz:{data_file}", "--batch-size", "4", "--eps", "0.05,0.3"]
    return [verb, str(model_dir), *images, *options, "--quiet"]


def without_seconds(report: bytes) -> bytes:
    told, count = re.subn(rb'("(?:certify|attack)_seconds": )[0-9.e-]+', rb"\1", report)
    assert count == 2
    return told


def require_same(out: Path, reference: Path) -> None:
    """Byte by byte, but for the seconds and what tells them."""
    one, other = (_content(folder) for folder in (out, reference))
    assert one.keys() == other.keys()
    for name, content in one.items():
        assert content == other[name], name


def _content(folder: Path) -> dict[str, bytes]:
    """Of every file that does not have to differ where the seconds do."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    told = {
        name: path.read_bytes() for name, path in files.items() if not name.endswith((".html", ".md", "bundle.json"))
    }
    return {name: _without(name, content) for name, content in told.items()}


def _without(name: str, content: bytes) -> bytes:
    if name.endswith("report.json"):
        return without_seconds(content)
    return re.sub(rb", in [0-9.e-]+ s\n", b"\n", content) if name == "attack.log" else content


def go_on(lip: Lip, command: list[str], out: Path, reference: Path) -> None:
    """With what is there, to the same report; nothing is left beside it."""
    if not out.exists():
        assert lip(*command, "--out", out, "--resume").code == 0
        assert not [path for path in out.parent.iterdir() if path.name.startswith((f"{out.name}.", "."))]
    require_same(out, reference)


def ended(command: list[str], during: Callable[[int], None]) -> int:
    """How a process ended that ran the command, while ``during`` its id did something; imports are done already."""
    process = os.fork()
    if process == 0:
        os.close(1)
        os.close(2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os._exit(run(command))
    during(process)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
