"""The fixture `installed`, by which the tests of extensions install a package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lip_plugin.plugins import PluginGroup

SOURCE = "def double(value: float) -> float:\n    return 2 * value\n"
GROUPS = {"lip_test.functions": {"double": "lip_test_doubling:double"}, "lip_test.others": {"same": "math:sqrt"}}


def test_a_package_of_one_module_is_installed_with_its_entry_points(
    installed: Callable[[str, Mapping[str, Mapping[str, str]], str], Path],
) -> None:
    assert PluginGroup("lip_test.functions", "function").names() == []
    site = installed("lip_test_doubling", GROUPS, SOURCE)
    double = PluginGroup("lip_test.functions", "function").load("double")
    assert callable(double) and double(21.0) == 42.0
    assert PluginGroup("lip_test.others", "function").names() == ["same"]
    assert (site / "lip_test_doubling.py").read_text() == SOURCE


def test_it_is_gone_after_the_test() -> None:
    assert PluginGroup("lip_test.functions", "function").names() == []
    assert "lip_test_doubling" not in sys.modules
