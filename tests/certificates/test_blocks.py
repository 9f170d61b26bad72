"""Images that come block by block: the certificate of the whole tensor, with one block alive at a time."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.certificates import certify_blocks

SHAPE = (1, 4, 4)


@pytest.fixture
def model() -> lp.CertifiedClassifier:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6)).eval()
    return lp.wrap(features, nn.Linear(6, 3).eval(), input_shape=SHAPE)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(22, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arithmetic", ["real", "float64"])
def test_blocks_give_the_certificate_of_the_whole(model: lp.CertifiedClassifier, x: Tensor, arithmetic: str) -> None:
    done: list[int] = []
    parts = certify_blocks(model, iter(x.split(8)), arithmetic=arithmetic, on_block=lambda part: done.append(len(part)))
    whole = lp.certify(model, x, arithmetic=arithmetic, batch_size=8)
    assert done == [8, 8, 6]
    assert (parts.arithmetic, parts.digest) == (whole.arithmetic, whole.digest)
    for column in ("prediction", "margin", "radius"):
        assert torch.equal(getattr(parts, column), getattr(whole, column))


def test_a_block_is_gone_before_the_next_one_is_made(model: lp.CertifiedClassifier, x: Tensor) -> None:
    def stream() -> Iterator[Tensor]:
        alive: list[weakref.ref[Tensor]] = []
        for start in range(0, 22, 8):
            assert [block for block in alive if block() is not None] == []
            block = x[start : start + 8].clone()
            alive.append(weakref.ref(block))
            yield block
            del block

    assert len(certify_blocks(model, stream())) == 22


def test_no_block_is_an_empty_certificate(model: lp.CertifiedClassifier) -> None:
    empty = certify_blocks(model, [])
    assert (len(empty), empty.prediction.dtype, empty.radius.dtype) == (0, torch.int64, torch.float64)


def test_every_block_is_checked(model: lp.CertifiedClassifier, x: Tensor) -> None:
    for wrong, message in (
        (x[:2] + 1, r"expected finite values in \[0,1\]"),
        (x[:2, :, :3], "this model expects"),
        (x[:2].masked_fill(x[:2] > 0.5, torch.nan), "finite"),
    ):
        with pytest.raises(lp.DataError, match=message):
            certify_blocks(model, [x, wrong])


def test_weights_that_change_between_blocks_are_noticed(model: lp.CertifiedClassifier, x: Tensor) -> None:
    def meddling() -> Iterator[Tensor]:
        yield x
        with torch.no_grad():
            model.head_bias.add_(1.0)
        yield x

    with pytest.raises(lp.ConfigError, match="changed while"):
        certify_blocks(model, meddling())
