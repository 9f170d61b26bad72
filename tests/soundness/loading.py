"""The scripts of ``tools/`` as modules, and what the checker consists of."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parents[2] / "tools"


@cache
def load_tool(name: str) -> Any:
    """``tools/NAME.py``, loaded once a process."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and named tuples look their module up
    spec.loader.exec_module(module)
    return module


def load_checker(part: str) -> Any:
    """A module of ``tools/rechecking``."""
    load_tool("recheck")  # which finds that folder beside it
    return importlib.import_module(f"rechecking.{part}")
