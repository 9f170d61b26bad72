"""Importing RobustBench where it does not import by itself, and leaving it alone where it does.

RobustBench 1.1.1, the newest on the package index, needs two modules that no current environment has:
`pkg_resources`, which left setuptools with version 82, and `autoattack`, which the index has as `pyautoattack`
with other signatures. Stand-ins are offered while it is being imported, only for what nothing else provides,
and taken back after that; RobustBench keeps the references it took.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from lip_adapters.robustbench_adapter.installation import FIX, require_own_robustbench
from lip_plugin.errors import MissingDependencyError

# `benchmark` and `load_model` live in two modules; the other two are what registration and its tests touch.
_MODULES = ("utils", "eval", "data", "model_zoo")


def import_robustbench() -> Any:
    """The package `robustbench` with utils, eval, data and model_zoo loaded.

    Takes 8 seconds or more the first time: torchvision, timm and all architectures come with it. Raises
    MissingDependencyError where it is not installed, is not RobustBench's own, or cannot be imported.
    """
    require_own_robustbench()
    try:
        with _stand_ins():
            package = importlib.import_module("robustbench")
            for name in _MODULES:
                importlib.import_module(f"robustbench.{name}")
    except ImportError as error:
        raise MissingDependencyError(f"robustbench cannot be imported ({error}); install it with: {FIX}") from error
    _bind_submodules(package)
    if not hasattr(sys.modules["robustbench.eval"], "benchmark"):
        raise MissingDependencyError(f"{package.__file__} is not RobustBench, it has no benchmark; reinstall: {FIX}")
    return package


def _bind_submodules(package: ModuleType) -> None:
    """After an earlier import that failed, submodules are loaded that the new package object does not name."""
    for name, module in list(sys.modules.items()):
        parent, _, child = name.rpartition(".")
        if parent == package.__name__ and not hasattr(package, child):
            setattr(package, child, module)


# -- stand-ins ------------------------------------------------------------------------------------


def resource_filename(module: str, path: str) -> str:
    """`pkg_resources.resource_filename` for a file beside an imported module."""
    return str(Path(str(sys.modules[module].__file__)).parent / path)


def _pkg_resources() -> Mapping[str, object]:
    return {"resource_filename": resource_filename}


def _autoattack() -> Mapping[str, object]:
    from lip_adapters.robustbench_adapter.autoattack import AutoAttack

    return {"AutoAttack": AutoAttack}


def _autoattack_state() -> Mapping[str, object]:
    return {"EvaluationState": importlib.import_module("pyautoattack.state").EvaluationState}


_CONTENT: Mapping[str, Callable[[], Mapping[str, object]]] = {
    "pkg_resources": _pkg_resources,
    "autoattack": _autoattack,
    "autoattack.state": _autoattack_state,
}


class _LastResort(MetaPathFinder, Loader):
    """Asked for a module when every other finder has none."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _CONTENT:
            return None
        return ModuleSpec(fullname, self, is_package=fullname == "autoattack")

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an empty module

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(_CONTENT[module.__name__]())


@contextlib.contextmanager
def _stand_ins() -> Generator[None]:
    last_resort = _LastResort()
    sys.meta_path.append(last_resort)
    try:
        yield
    finally:
        sys.meta_path.remove(last_resort)
        for name in _CONTENT:
            if getattr(sys.modules.get(name), "__loader__", None) is last_resort:
                del sys.modules[name]
