"""Threads of torch that wait leave their core to others: settled before torch is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_ASK = """
import os, sys
from lip_plugin.cli import process
process.run = lambda arguments: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules) or 0
process.main([])
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=["nothing said", "their count", "their policy"],
)
def test_waiting_threads_sleep_soon_unless_somebody_has_said_otherwise(given: dict[str, str], expected: str) -> None:
    others = {name: of for name, of in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    asked = [sys.executable, "-c", _ASK]
    done = subprocess.run(asked, env={**others, **given}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]
