"""The project's own rules about its files, dependencies and imports. Reads files only: no network, no build."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lip_plugin

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "lip_plugin"
ADAPTERS = ROOT / "adapters"
PYPROJECT: dict[str, Any] = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]

# Which room of lip_plugin may import which others. A room that is not listed here fails the tests.
_COMMON = {
    "devices",
    "errors",
    "types",
    "files",
    "memory",
    "progress",
    "ranks",
    "untrusted",
    "version",
    "plugins",
    "extras",
}  # leaves
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "extras": {"errors"},
    "types": {"errors"},
    "devices": {"errors"},
    "files": {"errors", "scratch"},
    "memory": set(),
    "plugins": {"errors", "untrusted"},
    "progress": set(),
    "ranks": {"errors"},
    "scratch": set(),
    "schema": {"errors", "types", "untrusted", "version"},
    "untrusted": {"errors"},
    "version": set(),
    "bounds": _COMMON,
    "network": {"bounds", "schema"} | _COMMON,
    "wrapping": {"network", "bounds"} | _COMMON,
    "certificates": {"wrapping", "network", "bounds"} | _COMMON,
    "models": {"network", "bounds"} | _COMMON,
    "published": {"models", "network"} | _COMMON,
    "losses": set(),
    "data": {"schema"} | _COMMON,
    "zoo": {"certificates", "network", "data", "schema"} | _COMMON,
    "evaluate": {"certificates", "zoo", "network", "data", "schema"} | _COMMON,
    "report": {"evaluate", "certificates", "zoo", "network", "data", "schema"} | _COMMON,
    "leaderboard": {"zoo", "data", "schema"} | _COMMON,
    "verification": {"submission", "report", "evaluate", "certificates", "data", "zoo", "network", "schema"} | _COMMON,
    "submission": {"report", "evaluate", "certificates", "zoo", "network", "data", "schema"} | _COMMON,
    "train": {
        "losses",
        "models",
        "data",
        "certificates",
        "wrapping",
        "report",
        "schema",
        "zoo",
        "network",
        "bounds",
        "evaluate",
    }
    | _COMMON,
}
ALLOWED["testing"] = {
    "data",
    "network",
    "bounds",
    "certificates",
    "zoo",
    "submission",
    "models",
    "train",
    "evaluate",
} | _COMMON
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}
# Loaded on demand by the package itself, so it may name any room.
TOP = "__init__"

FOREIGN = {"lip_adapters", "robustbench", "autoattack", "eagerpy", "foolbox", "pyautoattack", "torchattacks"}


# --- imports -----------------------------------------------------------------------------------------------------


def _imported_modules(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import: at any depth, under TYPE_CHECKING, or by a literal `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and _called_name(node) in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node.lineno, target.value


def _called_name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _core_imports() -> Iterator[tuple[str, str, str]]:
    """(file:line, importing room, dotted name) of every import in lip_plugin."""
    for path in sorted(CORE.rglob("*.py")):
        relative = path.relative_to(ROOT)
        package = ".".join(relative.parent.parts)
        room = relative.parts[1].removesuffix(".py")
        for line, name in _imported_modules(ast.parse(path.read_text(encoding="utf-8")), package):
            yield f"{relative}:{line}", room, name


def test_import_walk_sees_every_form() -> None:
    source = """
import lip_plugin.a
from lip_plugin.b import x
from lip_plugin import c
from . import d
from .. import e
from ..f import y
if TYPE_CHECKING:
    from .g import z
def late():
    import torchattacks
    importlib.import_module("robustbench.utils")
"""
    found = {name for _, name in _imported_modules(ast.parse(source), "lip_plugin.room")}
    core = {"a", "b.x", "c", "room.d", "e", "f.y", "room.g.z"}
    assert found == {f"lip_plugin.{name}" for name in core} | {"torchattacks", "robustbench.utils"}


def test_core_imports_no_adapter_and_no_foreign_attack_library() -> None:
    assert [f"{where} imports {name}" for where, _, name in _core_imports() if name.split(".")[0] in FOREIGN] == []


def test_rooms_import_only_in_the_allowed_direction() -> None:
    violations: list[str] = []
    for where, room, name in _core_imports():
        parts = name.split(".")
        if room == TOP or parts[0] != "lip_plugin":
            continue
        target = parts[1] if len(parts) > 1 else TOP
        if target != room and target not in ALLOWED.get(room, set()):
            violations.append(f"{where}: {room} may not import {name}")
    assert violations == []


def _module_graph() -> dict[str, set[str]]:
    """Module -> the modules of lip_plugin that it imports anywhere; without the package's front, which loads late."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in CORE.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        named = (name for _, name in _imported_modules(ast.parse(path.read_text(encoding="utf-8")), package))
        owners = {name if name in paths else name.rpartition(".")[0] for name in named}
        graph[module] = owners & (set(paths) - {"lip_plugin", module})
    graph.pop("lip_plugin")
    return graph


def test_modules_import_in_no_circle() -> None:
    graph = _module_graph()
    assert len(graph) > 150 and "lip_plugin.bounds.dense" in graph["lip_plugin.bounds"]
    set(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_every_room_has_a_place_in_the_picture() -> None:
    rooms = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in CORE.rglob("*.py")} - {TOP}
    assert sorted(rooms - set(ALLOWED)) == []


def test_allowed_directions_have_no_cycle() -> None:
    assert set(graphlib.TopologicalSorter(ALLOWED).static_order()) == set(ALLOWED)


# --- the public names --------------------------------------------------------------------------------------------


def test_every_public_name_resolves() -> None:
    for name in lip_plugin.__all__:
        assert getattr(lip_plugin, name) is not None


def test_version_is_the_one_in_pyproject() -> None:
    assert lip_plugin.__version__ == PROJECT["version"]


# --- layout ------------------------------------------------------------------------------------------------------


def test_adapters_holds_one_package_and_no_loose_module() -> None:
    # adapters/ is on sys.path in an editable install: a stray adapters/robustbench.py would shadow the real library.
    assert sorted(path.name for path in ADAPTERS.glob("*.py")) == []
    packages = [path.name for path in ADAPTERS.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert packages == ["lip_adapters"]


def _declared_entry_points() -> list[str]:
    groups: list[dict[str, str]] = [PROJECT.get("scripts", {}), *PROJECT.get("entry-points", {}).values()]
    return sorted(target for group in groups for target in group.values())


def _top_level_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("target", _declared_entry_points())
def test_entry_point_names_an_existing_file(target: str) -> None:
    module, _, attribute = target.partition(":")
    source_root = ADAPTERS if module.startswith("lip_adapters") else ROOT
    path = source_root.joinpath(*module.split("."))
    if not attribute:  # a folder of resources, or a module
        assert path.is_dir() or path.with_suffix(".py").is_file()
        return
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert file.is_file()
    assert attribute in _top_level_names(file)


# --- constraints.txt ---------------------------------------------------------------------------------------------


def _pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def _declared_requirements() -> list[Requirement]:
    texts: list[str] = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    for group in [*PROJECT["optional-dependencies"].values(), *PYPROJECT["dependency-groups"].values()]:
        texts += group
    requirements = [Requirement(text) for text in texts]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


def test_constraints_are_exact_versions_without_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    for pin in _pins():  # an option line is no requirement, so it fails to parse
        assert pin.url is None
        assert re.fullmatch(r"==[^*,+]+", str(pin.specifier)), f"{pin}: not one exact, public version"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_constraints_pin_each_declared_requirement_once(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    versions: dict[str, list[str]] = {}
    for pin in _pins():
        if pin.marker is None or pin.marker.evaluate(environment):
            versions.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    for requirement in _declared_requirements():
        found = versions.get(canonicalize_name(requirement.name), [])
        assert len(found) == 1, f"{requirement.name}: {found}; run `make constraints`"
        assert requirement.specifier.contains(found[0]), f"{requirement}: {found[0]}; run `make constraints`"


# --- tracked files -----------------------------------------------------------------------------------------------


def _git_files(*options: str) -> list[Path]:
    try:
        listing = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


# Written so that this file does not match itself.
ADDRESS = re.compile(
    rb"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|download[.]pytorch[.]org|deb[.]debian[.]org"
    rb"|[-]-(?:extra-)?index-url\b|[-]-find-links\b"
    rb"|(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/pypi)/"
)


def test_tracked_files_name_no_registry_address_and_no_machine_path() -> None:
    found: list[str] = []
    for path in _git_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:  # weights and images
            continue
        for number, line in enumerate(content.splitlines(), 1):
            if match := ADDRESS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0].decode()}")
    assert found == []


def test_no_ignore_rule_hides_a_package_file() -> None:
    ignored = _git_files("--others", "--ignored", "--exclude-standard", "--", "lip_plugin", "adapters")
    assert [str(path.relative_to(ROOT)) for path in ignored if "__pycache__" not in path.parts] == []
