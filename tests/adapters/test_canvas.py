"""What Square sees of vectors, of narrow images, and of sizes that its start does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from lip_adapters._canvas import Canvas
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.network import CertifiedClassifier

FITTING = {(1, 28, 28), (3, 32, 32), (3, 16, 16), (3, 224, 224)}
LAID_OUT = [
    (500, 1, 1),
    (1, 1, 500),
    (1, 500, 1),
    (499, 1, 1),
    (3, 1, 101),
    (2, 3, 3),
    (1, 1, 1),
    (16, 2, 2),
    (2, 40, 10),
]
SIDE_BY_SIDE = [(3, 12, 12), (1, 14, 9), (1, 18, 24), (3, 28, 40), (1, 24, 24)]


@pytest.mark.parametrize("shape", [*FITTING, *LAID_OUT, *SIDE_BY_SIDE])
def test_images_come_back_from_the_canvas(shape: tuple[int, int, int]) -> None:
    canvas = Canvas(shape)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    shown = canvas.of(x)
    assert shown.shape[1:] == canvas.size
    assert torch.equal(canvas.images(shown), x)
    # Equal norms: every entry is shown once, and what is added is black.
    assert torch.allclose(shown.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    assert (canvas.size == shape) == (shape in FITTING)


@pytest.mark.parametrize("shape", LAID_OUT)
def test_a_canvas_of_entries_grows_with_their_number(shape: tuple[int, int, int]) -> None:
    """Not with the square of their length, nor by 5 x 5 pixels for each."""
    channels, height, width = Canvas(shape).size
    assert height == width
    entries = math.prod(shape) // channels
    assert height * width <= max(25, entries + 6 * math.sqrt(entries) + 9)


@pytest.mark.parametrize("shape", SIDE_BY_SIDE)
def test_pixels_side_by_side_get_few_more(shape: tuple[int, int, int]) -> None:
    _, height, width = Canvas(shape).size
    assert height == width <= max(shape) + 2


def test_square_starts_on_every_canvas() -> None:
    """The library's own start, which fails where its tiles leave the canvas."""
    for height in range(1, 41):
        for width in range(1, 41):
            canvas = Canvas((1, height, width))
            x = torch.zeros(1, 1, height, width)
            attack = SquareAttack(nn.Flatten(), norm="L2", eps=0.1, n_queries=1, seed=0, verbose=False)
            y = torch.zeros(1, dtype=torch.long)
            assert attack.perturb(canvas.of(x), y).shape[1:] == canvas.size


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 12, 12), (1, 14, 9), (1, 20, 3), (1, 1, 120), (120, 1, 1)])
def test_square_takes_images_that_its_start_does_not_fit(
    linear_problem: Callable[..., Any], shape: tuple[int, int, int]
) -> None:
    model, x, y, distance = linear_problem(3, shape=shape, count=2)
    result = get_attack("autoattack:square?n_queries=1000")(model, x, y, eps=8 * float(distance.max()))
    assert result.success.all()


@pytest.mark.parametrize("spec", ["autoattack:square?n_queries=50", "torchattacks:Square?n_queries=200"])
def test_a_vector_is_attacked_in_whatever_shape_it_comes(
    linear_problem: Callable[..., Any], spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same linear problem in five shapes: the same points and distances, from canvases of one size."""
    vectors, x, y, distance = linear_problem(3, shape=(1, 1, 500), count=6)
    seen: list[tuple[int, ...]] = []
    of = Canvas.of
    monkeypatch.setattr(Canvas, "of", lambda self, x: seen.append(self.size) or of(self, x))  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]

    def attacked(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
        model = CertifiedClassifier(vectors.operators, vectors.head, input_shape=shape)
        found = get_attack(spec)(model, x.reshape(-1, *shape), y, eps=8 * float(distance.median()))
        return found.adversarial.flatten(1), found.success, found.distance

    expected = attacked((1, 1, 500))
    assert expected[1].any()
    for shape in ((500, 1, 1), (1, 500, 1), (1, 10, 50), (125, 2, 2)):
        assert all(torch.equal(*pair) for pair in zip(attacked(shape), expected, strict=True))
    assert set(seen) == {(1, 23, 23)}
