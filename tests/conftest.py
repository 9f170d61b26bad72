"""One thread, reproducible examples, and the helpers that several test folders share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
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
