"""Settings of torch around a call: none changes a certificate, a frozen network or what is saved."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.certificates import certify_blocks

from .closed_form import (
    SHAPE,
    ask,
    assert_runs,
    assert_true,
    compared,
    images,
    modules,
    network,
    numbers,
    trainable,
    truth,
)

Context = Callable[[], AbstractContextManager[Any]]


@contextmanager
def set_and_reset(change: Callable[[], object], back: Callable[[], object]) -> Generator[None]:
    change()
    try:
        yield
    finally:
        back()


NEUTRAL: dict[str, Context] = {
    "bfloat16 autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16 autocast": lambda: torch.autocast("cpu", dtype=torch.float16),
    "inference mode": torch.inference_mode,
    "gradients on": torch.enable_grad,
    "forward-mode gradients": torch.autograd.forward_ad.dual_level,
    "default float16": lambda: set_and_reset(
        lambda: torch.set_default_dtype(torch.float16), lambda: torch.set_default_dtype(torch.float32)
    ),
    "default float64": lambda: set_and_reset(
        lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)
    ),
    "default device meta": lambda: set_and_reset(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "with device meta": lambda: torch.device("meta"),
    "matmul precision medium": lambda: set_and_reset(
        lambda: torch.set_float32_matmul_precision("medium"), lambda: torch.set_float32_matmul_precision("highest")
    ),
    # Not torch.backends.mkldnn.flags, which warns about Intel GPUs.
    "without oneDNN": lambda: set_and_reset(
        lambda: torch._C._set_mkldnn_enabled(False),  # pyright: ignore[reportPrivateUsage]
        lambda: torch._C._set_mkldnn_enabled(True),  # pyright: ignore[reportPrivateUsage]
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NEUTRAL)
def test_settings_change_no_certificate(name: str, dtype: torch.dtype) -> None:
    given, x = numbers(), images(dtype)
    model = network(given, dtype)
    plain = ask(model, x)
    with NEUTRAL[name]():
        inside = ask(model, x)
        report = compared(model, x)
    assert_true(inside, given, x)
    for certificate, again in ((plain.certificate, inside.certificate), (plain.float64, inside.float64)):
        assert certificate.digest == again.digest
        assert torch.equal(certificate.radius, again.radius) and torch.equal(certificate.margin, again.margin)
    assert torch.equal(report.radius, plain.certificate.radius)


@pytest.mark.parametrize("name", NEUTRAL)
def test_settings_change_no_frozen_network(name: str, tmp_path: Path) -> None:
    given, x, model = numbers(), images(), trainable()
    expected = lp.freeze(model).digest
    with NEUTRAL[name]():
        features, head = modules(given)
        wrapped = lp.wrap(features.to(dtype=torch.float32), head, input_shape=SHAPE)
        assert lp.freeze(model).digest == expected
        wrapped.save(tmp_path / "model")
        loaded = lp.load_model(tmp_path / "model")
    assert wrapped.digest == loaded.digest == network(given).digest
    assert_true(ask(loaded, x), given, x)
    assert_runs(loaded, given, x)


def test_autocast_would_have_mattered() -> None:
    """Its operators alone are wrong by more than `assert_runs` allows; the network switches it off."""
    given, x = numbers(), images()
    model = network(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, features = model(x), model.features(x)
        alone = x
        for layer in model.layers:
            alone = layer.apply(alone)
    assert torch.equal(logits, model(x)) and torch.equal(features, model.features(x))
    assert np.abs(alone.float().numpy() - truth(given, x).logits).max() > 1e-3


def test_training_mode_changes_no_certificate() -> None:
    given, x = numbers(), images()
    model = network(given).train()
    assert_true(ask(model, x), given, x)
    assert model.training


@pytest.mark.parametrize("name", ["bfloat16 autocast", "gradients on", "with device meta"])
def test_settings_that_a_generator_of_blocks_enters_change_nothing(name: str) -> None:
    model, x = network(numbers(), torch.float64), images(torch.float64)
    expected = certify_blocks(model, [x[:2], x[2:]])  # a processor may sum blocks of another size otherwise

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        with NEUTRAL[name]():
            yield x[2:]

    certificate = certify_blocks(model, blocks())
    assert torch.equal(certificate.radius, expected.radius)
    assert not certificate.radius.requires_grad
