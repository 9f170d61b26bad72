"""What a bundle cannot make of whoever verifies it: a board that never ends, a traceback, a file that is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .forging import edit_json

Lip = Callable[..., Any]

_ENDLESS = """
import sys, time
from lip_plugin import verification
from lip_plugin.cli import limits, main
limits.MOST_SECONDS = 0.5
verification.verify_bundle = lambda *_, **__: time.sleep(60)
main(["leaderboard", sys.argv[1], "--verify", "--out", sys.argv[2]])
"""


def test_a_leaderboard_does_not_wait_for_a_bundle(honest: Path, tmp_path: Path) -> None:
    out = tmp_path / "board"
    ended = subprocess.run(
        [sys.executable, "-c", _ENDLESS, honest, out], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"lip: {honest} is not verified: more than 0.5 s; ")
    assert not out.exists()


def test_a_name_that_the_terminal_lacks_is_written_otherwise(bundle: Path, data_file: Path) -> None:
    edit_json(
        bundle / "bundle.json", lambda manifest: manifest.update(name="t\N{LATIN SMALL LETTER I WITH DIAERESIS}ny")
    )
    ended = subprocess.run(
        [sys.executable, "-m", "lip_plugin", "verify", bundle, "--data", data_file],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith("t\\xefny: a bundle for the board 'own'")
    assert "Traceback" not in ended.stderr


def test_what_is_not_listed_is_not_read(lip: Lip, bundle: Path, data_file: Path) -> None:
    """However large it is: it is named, and everything else is looked at."""
    with (bundle / "zeros").open("wb") as file:
        file.truncate(2**36 + 1)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    first, last = outcome.err.splitlines()
    assert first == "lip: zeros: presence: claimed not listed in bundle.json, measured there"
    assert last.endswith("1 claim differ")


def test_two_names_that_are_one_file_elsewhere(lip: Lip, bundle: Path, data_file: Path) -> None:
    def twice(manifest: Any) -> None:
        manifest["files"]["license.TXT"] = manifest["files"]["LICENSE.txt"]

    edit_json(bundle / "bundle.json", twice)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "lip: LICENSE.txt: name: claimed one of its own, measured that of another file" in outcome.err
