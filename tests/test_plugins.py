"""Entry-point groups: what is found, and what is said where nothing or too much is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lip_plugin.errors import ConfigError, MissingDependencyError
from lip_plugin.plugins import PluginGroup

GROUP = PluginGroup("lip_test.things", "thing")


def _install(site: Path, package: str, *lines: str) -> None:
    """What an installed distribution leaves on the path: its metadata."""
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(("[lip_test.things]", *lines, "")))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_members_of_several_packages_are_found_sorted_and_loaded(site: Path) -> None:
    _install(site, "one", "root = math:sqrt", "pi = math:pi")
    _install(site, "two", "e = math:e")
    assert GROUP.names() == ["e", "pi", "root"]
    root = GROUP.load("root")
    assert callable(root) and root(9.0) == 3.0


def test_an_unknown_name_is_answered_with_the_known_and_the_nearest(site: Path) -> None:
    with pytest.raises(ConfigError, match="no thing 'rot'; known: none is installed"):
        GROUP.load("rot")
    _install(site, "one", "root = math:sqrt")
    with pytest.raises(ConfigError, match=r"no thing 'rot'; known: root\. Did you mean 'root'"):
        GROUP.load("rot")


def test_two_packages_may_not_claim_one_name(site: Path) -> None:
    _install(site, "one", "root = math:sqrt")
    _install(site, "two", "root = cmath:sqrt")
    with pytest.raises(ConfigError, match=r"'root' is claimed by .*uninstall one"):
        GROUP.load("root")


def test_the_same_member_seen_twice_is_one(site: Path) -> None:
    _install(site, "one", "root = math:sqrt")
    _install(site, "two", "root = math:sqrt")
    assert GROUP.names() == ["root"] and callable(GROUP.load("root"))


@pytest.mark.parametrize("target", ["nowhere_at_all:thing", "math:no_such_function"])
def test_a_member_that_is_not_there_is_a_missing_dependency(site: Path, target: str) -> None:
    _install(site, "one", f"lost = {target}")
    with pytest.raises(MissingDependencyError, match=r"the thing 'lost' .* cannot be imported"):
        GROUP.load("lost")
