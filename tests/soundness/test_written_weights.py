"""Writes past every protection: into the buffers of a frozen network, before, between and during proofs.

Each is noticed by the digest, and what is then said is true of the numbers that are there. Nothing remembered is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp

from .closed_form import (
    ask,
    assert_refused,
    assert_runs,
    assert_true,
    held_by,
    images,
    network,
    numbers,
)


def _numpy_alias(buffer: Tensor) -> None:
    buffer.numpy()[...] *= 0.5


def _dlpack_alias(buffer: Tensor) -> None:
    torch.from_dlpack(buffer).mul_(0.5)


def _data(buffer: Tensor) -> None:
    buffer.data.mul_(0.5)


def _other_data(buffer: Tensor) -> None:
    buffer.data = buffer.detach() * 0.5


def _other_storage(buffer: Tensor) -> None:
    buffer.set_((buffer * 0.5).contiguous())  # pyright: ignore[reportArgumentType, reportCallIssue]


def _transposed_data(buffer: Tensor) -> None:
    """The same shape in another order of memory."""
    order = list(range(buffer.dim()))[::-1]
    buffer.data = (buffer * 0.5).permute(order).contiguous().permute(order)


def _negated_view(buffer: Tensor) -> None:
    """Bytes of -x whose sign torch keeps beside them."""
    buffer.data = torch.complex(torch.zeros_like(buffer), -0.5 * buffer).conj().imag


def _storage(buffer: Tensor) -> None:
    entries = torch.empty(0, dtype=buffer.dtype).set_(buffer.untyped_storage())  # pyright: ignore[reportArgumentType, reportCallIssue]
    entries.mul_(0.5)


WRITES: dict[str, Callable[[Tensor], object]] = {
    "in place": lambda buffer: buffer.mul_(0.5),
    "one entry": lambda buffer: buffer.view(-1)[-1].add_(0.25),
    "detached alias": lambda buffer: buffer.detach().mul_(0.5),
    "data": _data,
    "other data": _other_data,
    "other storage": _other_storage,
    "storage": _storage,
    "transposed data": _transposed_data,
    "negated view": _negated_view,
    "numpy alias": _numpy_alias,
    "dlpack alias": _dlpack_alias,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["00_weight", "00_bias", "03_weight", "03_bias"])
@pytest.mark.parametrize("write", WRITES)
def test_a_written_buffer_is_certified_as_what_it_is_now(write: str, name: str, dtype: torch.dtype) -> None:
    """Asked before (so that a bound is remembered), after the write, and after the numbers are back."""
    given, x = numbers(), images(dtype)
    model = network(given, dtype)
    before = ask(model, x)
    assert_true(before, given, x)
    WRITES[write](model.get_buffer(name))
    changed = held_by(model)
    assert not np.array_equal(changed[name], given[name]), "the case must matter"
    after = ask(model, x)
    assert after.certificate.digest != before.certificate.digest
    assert after.certificate.digest == network(changed, dtype).digest  # of the same numbers, built anew
    assert_true(after, changed, x)
    assert_runs(model, changed, x)
    model.get_buffer(name).copy_(torch.from_numpy(given[name]))
    again = ask(model, x)
    assert again.certificate.digest == before.certificate.digest
    # Not bit for bit: another order in memory is another order of sums.
    assert again.certificate.radius.tolist() == pytest.approx(before.certificate.radius.tolist(), rel=1e-13)


def test_what_is_saved_after_a_write_is_what_is_certified_after_it(tmp_path: Path) -> None:
    given, x = numbers(), images()
    model = network(given)
    model.save(tmp_path / "before")
    _numpy_alias(model.get_buffer("00_weight"))
    model.save(tmp_path / "after")
    for place, expected in (("before", given), ("after", held_by(model))):
        assert_true(ask(lp.load_model(tmp_path / place), x), expected, x)


UNUSABLE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "another dtype": (torch.Tensor.half, "in another dtype"),
    "another shape": (lambda value: value.new_zeros(*value.shape[:-1], value.shape[-1] + 3), "does not fit together"),
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("buffer", ["00_weight", "00_bias", "03_weight", "03_bias"])
def test_data_that_no_network_can_have_is_refused(name: str, buffer: str, tmp_path: Path) -> None:
    replace, words = UNUSABLE[name]
    model = network(numbers())
    value = model.get_buffer(buffer)
    value.data = replace(value)
    assert_refused(model, images(), words, tmp_path)
