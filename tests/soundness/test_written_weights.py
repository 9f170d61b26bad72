"""Writes past every protection: into the buffers of a frozen network, before, between and during proofs.

Each is noticed by the digest, and what is then said is true of the numbers that are there. Nothing remembered is used.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.bounds import NormBound
from lip_plugin.certificates import certify_blocks
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier, Conv, Flatten, Head
from lip_plugin.types import Shape

from .closed_form import (
    SHAPE,
    NoAttack,
    ask,
    assert_refused,
    assert_runs,
    assert_true,
    compared,
    held_by,
    images,
    modules,
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


# --- during a proof ------------------------------------------------------------------------------------------------

DURING = {"float32": torch.float32, "float64": torch.float64}


@pytest.mark.parametrize("dtype", DURING)
def test_weights_that_change_between_blocks_end_the_proof(dtype: str) -> None:
    x = images(DURING[dtype])
    model = network(numbers(), DURING[dtype])

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        model.get_buffer("03_weight").mul_(8.0)
        yield x[2:]

    with pytest.raises(lp.ConfigError, match="changed while they were being certified"):
        certify_blocks(model, blocks())
    assert_true(ask(model, x), held_by(model), x)


@pytest.mark.parametrize("dtype", DURING)
def test_weights_that_change_and_come_back_between_blocks_are_not_certified(dtype: str) -> None:
    """The digest is the same before and after; the second block must not have been proved with the others."""
    given, x = numbers(), images(DURING[dtype])
    model = network(given, DURING[dtype])
    expected = lp.certify(model, x)

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        model.get_buffer("03_weight").mul_(8.0)
        yield x[2:]
        model.get_buffer("03_weight").mul_(0.125)

    certificate = certify_blocks(model, blocks())
    assert certificate.digest == expected.digest
    assert torch.equal(certificate.radius, expected.radius)


@pytest.mark.parametrize("query", ["certify", "lipschitz_upper_bound"])
@pytest.mark.parametrize("restored", [True, False])
def test_a_write_while_the_bound_is_proved_reaches_no_bound_that_is_remembered(
    query: str, restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread would: once the proof has begun the weights shrink, and with them the bound."""
    given, x = numbers(1000 + 10 * restored + len(query)), images()  # weights of which nothing is remembered
    model = network(given)
    prove = Conv.lipschitz_upper_bound

    def shrinking(self: Conv, input_shape: Shape) -> NormBound:
        buffer = model.get_buffer("00_weight")
        buffer.mul_(2.0**-10)
        try:
            return prove(self, input_shape)
        finally:
            if restored:
                buffer.mul_(2.0**10)

    monkeypatch.setattr(Conv, "lipschitz_upper_bound", shrinking)
    if query == "lipschitz_upper_bound":
        lp.lipschitz_upper_bound(model)
    elif restored:
        lp.certify(model, x)
    else:
        with pytest.raises(lp.ConfigError, match="changed while"):
            lp.certify(model, x)
    monkeypatch.undo()
    assert_true(ask(network(given), x), given, x)  # the digest for which a bound was remembered
    assert_true(ask(model, x), held_by(model), x)


class WritingAttack(NoAttack):
    """Foreign code that holds the network."""

    def __init__(self, model: lp.CertifiedClassifier, act: Callable[[lp.CertifiedClassifier], object]) -> None:
        self.model, self.act = model, act

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        self.act(self.model)
        return x


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
def test_a_comparison_whose_attack_writes_into_the_network_has_no_report(factor: float) -> None:
    model, x = network(numbers()), images()
    with pytest.raises(lp.ConfigError, match="not those that were certified"):
        compared(model, x, WritingAttack(model, lambda held: held.get_buffer("00_weight").mul_(factor)))
    assert_true(ask(model, x), held_by(model), x)


def test_a_comparison_whose_attack_hooks_the_network_has_no_report() -> None:
    model, x = network(numbers()), images()
    hook: Callable[..., Tensor] = lambda module, inputs, output: output  # noqa: E731
    with pytest.raises(lp.ConfigError, match="has hooks"):
        compared(model, x, WritingAttack(model, lambda held: held.register_forward_hook(hook)))


# --- shared memory -------------------------------------------------------------------------------------------------


def test_modules_that_share_memory_freeze_into_weights_that_do_not() -> None:
    """One block of numbers behind all four weights of the modules, read by both layers."""
    block = torch.from_numpy(np.random.default_rng(3).standard_normal(24)).float()
    features, head = modules(numbers())
    conv = features[0]
    assert isinstance(conv, nn.Conv2d)
    conv.weight.data, conv.bias = block[:8].view(2, 1, 2, 2), nn.Parameter(block[:2])
    head.weight.data, head.bias = block.view(3, 8), nn.Parameter(block[::8])
    x = images()
    model = lp.wrap(features, head, input_shape=SHAPE)
    given = held_by(model)
    with torch.no_grad():
        assert np.allclose(model(x).numpy(), head(features(x)).numpy(), atol=1e-6)
    for writer in (block, model.get_buffer("03_weight")):
        writer.mul_(0.5)
        changed = held_by(model)
        untouched = ("00_weight", "00_bias", "03_bias") if writer is not block else tuple(given)
        assert all(np.array_equal(changed[name], given[name]) for name in untouched)
        assert_true(ask(model, x), changed, x)
        assert_runs(model, changed, x)


def test_operators_over_one_tensor_and_expanded_ones_freeze_into_weights_of_their_own() -> None:
    row = torch.from_numpy(np.random.default_rng(4).standard_normal(8)).float()
    kernel, bias = row.view(2, 1, 2, 2), row[:1].expand(2)
    head = Head(torch.stack([row, -row, row.flip(0)]), row[:3])
    model = CertifiedClassifier(
        [Conv(kernel, bias, stride=(2, 2)), *network(numbers()).operators[1:2], Flatten()], head, input_shape=SHAPE
    )
    given = held_by(model)
    model.get_buffer("00_bias")[0] = 7.0
    changed = held_by(model)
    assert changed["00_bias"].tolist() == [7.0, given["00_bias"][1]]
    assert_true(ask(model, images()), changed, images())
    assert row[0] == given["00_weight"].flat[0]


def test_buffers_made_to_share_memory_are_certified_as_what_they_are() -> None:
    given, x = numbers(), images()
    model = network(given)
    model.get_buffer("00_bias").data = model.get_buffer("03_weight").view(-1)[:2]
    model.get_buffer("03_weight").mul_(0.5)  # now writes both
    changed = held_by(model)
    assert np.allclose(changed["00_bias"], 0.5 * given["03_weight"].flat[:2])
    assert_true(ask(model, x), changed, x)
    assert_runs(model, changed, x)


COPIES: dict[str, Callable[[lp.CertifiedClassifier], lp.CertifiedClassifier]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "moved": lambda model: copy.deepcopy(model).to("cpu").double(),
    "copied": lp.CertifiedClassifier.copied,
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_stays_true_when_the_original_is_written(name: str) -> None:
    given, x = numbers(), images(torch.float64)
    model = network(given, torch.float64)
    copied = COPIES[name](model)
    for buffer in model.buffers():
        buffer.mul_(0.5)
    for network_now, expected in ((copied, given), (model, held_by(model))):
        assert_true(ask(network_now, x), expected, x)
        assert_runs(network_now, expected, x)
    assert copied.digest != model.digest
