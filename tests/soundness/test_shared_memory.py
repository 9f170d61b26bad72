"""Weights that share memory, with modules, operators, copies or each other: a certificate speaks of what is there."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.network import CertifiedClassifier, Conv, Flatten, Head

from .closed_form import (
    SHAPE,
    ask,
    assert_runs,
    assert_true,
    held_by,
    images,
    modules,
    network,
    numbers,
)


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
