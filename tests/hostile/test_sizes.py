"""Small files that ask for much: refused before anything of that size exists, at load, not at certification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.network import (
    AvgPool,
    ChannelShuffle,
    Conv,
    Dense,
    Flatten,
    Head,
    MaxPool,
    Operator,
    PixelShuffle,
    PixelUnshuffle,
)
from lip_plugin.network.limits import check_size

Refused = Callable[..., str]


def _kernel(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.float64)


def _around(size: int) -> tuple[int, int, int, int]:
    return size, size, size, size


TOO_LARGE: dict[str, tuple[Sequence[Operator], tuple[int, int, int]]] = {
    "padding of a point": ([Conv(_kernel(1, 1, 1, 1), padding=_around(1000))], (1, 1, 1)),
    "padding that a stride skips": ([Conv(_kernel(1, 1, 1, 1), padding=_around(1000), stride=(999, 999))], (1, 1, 1)),
    "padding, again and again": ([Conv(_kernel(1, 1, 1, 1), padding=_around(200)) for _ in range(9)], (1, 4, 4)),
    "dilation over padding": ([Conv(_kernel(1, 1, 3, 3), padding=_around(900), dilation=(900, 900))], (1, 2, 2)),
    "many channels": ([Conv(_kernel(2**16, 1, 1, 1))], (1, 32, 32)),
    "long map, long kernel": ([Conv(_kernel(1, 1, 1000, 1))], (1, 2**20, 1)),
    "kernel beyond any image": ([Conv(_kernel(1, 1, 1, 2000), padding=(0, 0, 1000, 1000))], (1, 1, 1)),
    "wide kernel on a wide map": ([Conv(_kernel(64, 64, 31, 31), padding=_around(15))], (64, 1000, 1000)),
    "long pool": ([MaxPool((1, 1000), (1, 1), (0, 500))], (1, 1, 2**20)),
    "long average": ([AvgPool((1000, 1), (1, 1), (500, 0))], (1, 2**20, 1)),
    "wide image": ([], (3, 2**12, 2**12)),
    "many layers": ([Flatten()] * 5000, (1, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LARGE)
def test_too_large_a_network_is_neither_written_nor_read(name: str) -> None:
    operators, shape = TOO_LARGE[name]
    with pytest.raises(lp.UnsupportedLayerError, match="at most"):
        check_size(operators, shape)


REASONABLE: dict[str, tuple[Sequence[Operator], tuple[int, int, int]]] = {
    "ImageNet stem": ([Conv(_kernel(64, 3, 7, 7), padding=_around(3), stride=(2, 2))], (3, 224, 224)),
    "wide patches": ([Conv(_kernel(768, 3, 16, 16), stride=(16, 16))], (3, 224, 224)),
    "wide block": ([Conv(_kernel(512, 512, 3, 3), padding=_around(1))] * 12, (512, 56, 56)),
    "full circular kernel": (
        [Conv(_kernel(64, 1, 28, 28), padding=(14, 13, 14, 13), padding_mode="circular", groups=64)],
        (64, 28, 28),
    ),
    "photograph": ([AvgPool((8, 8), (8, 8))], (3, 1000, 1400)),
    "many classes": ([Flatten(), Head(_kernel(10_000, 512))], (512, 1, 1)),
    "wide dense": ([Flatten(), Dense(_kernel(2048, 16_384))], (256, 8, 8)),
}


@pytest.mark.parametrize("name", REASONABLE)
def test_image_classifiers_are_not_too_large(name: str) -> None:
    check_size(*REASONABLE[name])


@pytest.mark.parametrize("padding", [1, 3, 700, 1000])
def test_padding_in_a_card(padding: int, forge: Any, refused: Refused) -> None:
    """What blows up comes out at load, in one line; the head does not fit any other padding."""
    forge.card["network"][1]["settings"]["padding"] = [padding] * 4
    if padding == 1:
        assert lp.load_model(forge.sign()).num_classes == 3
    else:
        refused(forge.sign(), "layer")


@pytest.mark.parametrize("operator", [PixelShuffle(2**15), PixelUnshuffle(2**15), ChannelShuffle(2**15)])
def test_factors_that_fit_nothing(operator: Operator, forge: Any, refused: Refused) -> None:
    record = {"kind": operator.kind, "settings": operator.settings(), "tensors": {}}
    forge.card["network"].insert(2, record)
    refused(forge.sign(), "does not divide")


def test_a_bound_never_builds_more_than_it_may() -> None:
    """A long kernel over a short map: selections along the axis once asked for 8 GB."""
    weight = torch.ones(1, 1, 1, 200_000, dtype=torch.float64)
    tall = Conv(weight, padding=(0, 0, 100_000, 100_000))
    assert tall.lipschitz_upper_bound((1, 1, 1)).value >= 1.0
