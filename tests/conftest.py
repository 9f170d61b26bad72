"""One thread, reproducible examples, and the helpers that several test folders share."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from lip_plugin.cli import run
from lip_plugin.data import ImageSet, checked_image_set

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile(
    "lip",
    deadline=None,
    derandomize=True,
    max_examples=30,
    # Fixtures here are functions and directories that no example changes.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("lip")
torch.set_num_threads(1)
os.environ["LIP_PLUGIN_MODELS"] = os.devnull  # whatever models the user keeps

Randn = Callable[..., Tensor]
"""randn(*shape, seed=0, dtype=torch.float64)"""


CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """A Chromium for pages; skipped where there is none, unless LIP_BROWSER=required."""
    playwright: Any = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the group dev")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with playwright.sync_playwright() as driver:
        try:
            # None: one that playwright has installed. The time is for a machine that is busy with other tests.
            found: Browser = driver.chromium.launch(executable_path=program, timeout=60_000)
        except playwright.Error as error:
            if os.environ.get("LIP_BROWSER") == "required":
                raise
            pytest.skip(f"no Chromium; on Debian: apt install chromium-headless-shell ({str(error).splitlines()[0]})")
        yield found
        found.close()


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


Lip = Callable[..., Outcome]


@pytest.fixture
def lip(capsys: pytest.CaptureFixture[str]) -> Lip:
    """Run the command line in this process."""

    def call(*arguments: object) -> Outcome:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


Installed = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]
"""installed(package, {group: {name: "module:attribute"}}, source)"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Installed]:
    """Put a package of one module on the path as an installer would, with its entry points; gone after the test.

    ``source`` is the text of ``<package>.py``; returns the folder that it lies in, where more files may be put.

        installed("my_attacks", {"lip_plugin.attacks": {"mine": "my_attacks:make_attack"}}, source)
    """
    site = tmp_path / "site-packages"
    before = set(sys.modules)

    def install(package: str, groups: Mapping[str, Mapping[str, str]], source: str) -> Path:
        metadata = site / f"{package}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [line for group, members in groups.items() for line in (f"[{group}]", *_entry_lines(members))]
        (metadata / "entry_points.txt").write_text("\n".join((*lines, "")))
        (site / f"{package}.py").write_text(source)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return site

    yield install
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def _entry_lines(members: Mapping[str, str]) -> list[str]:
    return [f"{name} = {target}" for name, target in members.items()]


@pytest.fixture(scope="session")
def code_blocks() -> Callable[[str, str], list[str]]:
    """code_blocks("extending/attack.md", "python"): the fenced blocks of a language on a page of docs, in order."""

    def read(page: str, language: str) -> list[str]:
        text = (Path(__file__).parent.parent / "docs" / page).read_text(encoding="utf-8")
        return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)

    return read


@pytest.fixture
def golden_dir() -> Path:
    """Published implementations run once on random weights: inputs, logits, losses, gradients, constants."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def randn() -> Randn:
    """Seeded normal tensors that leave torch's global generator alone."""

    def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)

    return draw


@pytest.fixture(scope="session")
def halves() -> Callable[[int, int], ImageSet]:
    """halves(count, channels): images of 8 x 8 of two classes, bright above or bright below."""

    def draw(count: int, channels: int) -> ImageSet:
        generator = np.random.default_rng(0)
        labels = generator.integers(0, 2, count)
        pixels = generator.integers(0, 120, (count, channels, 8, 8))
        for image, label in zip(pixels, labels, strict=True):
            image[:, 4 * label : 4 * label + 4] += 120
        return checked_image_set(pixels.astype(np.uint8), labels, name="halves", source="synthetic")

    return draw


@pytest.fixture(scope="session")
def searched_lipschitz() -> Callable[[Callable[[Tensor], Tensor], Tensor], float]:
    """A lower bound of a map's Lipschitz constant: the steepest pair found from (B, ...) starting points.

    Pairs at several distances, then gradient ascent on the difference quotient of pairs that stay apart.
    """

    def quotients(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        rise = (function(x) - function(y)).flatten(1)
        return torch.linalg.vector_norm(rise, dim=1) / torch.linalg.vector_norm((x - y).flatten(1), dim=1)

    def search(function: Callable[[Tensor], Tensor], start: Tensor) -> float:
        best = 0.0
        for scale in (1e-3, 1.0):
            generator = torch.Generator().manual_seed(1)
            shift = scale * torch.randn(start.shape, generator=generator, dtype=start.dtype)
            x, y = start.clone().requires_grad_(True), (start + shift).requires_grad_(True)
            optimiser = torch.optim.Adam([x, y], lr=0.05 * scale)
            for _ in range(60):
                value = quotients(function, x, y)
                best = max(best, float(value.detach().max()))
                optimiser.zero_grad()
                (-value.sum()).backward()
                optimiser.step()
        return best

    return search
