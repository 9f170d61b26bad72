"""Published checkpoints from a stranger: stored state is worth nothing, sizes must be confirmed by the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import lip_plugin as lp

CACHED = ("init_x", "init_layer", "eval_weight")
HEADS = ("head.weight", "head.bias")
Published = tuple[str, dict[str, Any], dict[str, Tensor]]


@pytest.fixture(scope="module", params=["hu23_cifar_s1", "liresnetpp_cifar_s1", "bronet_tiny_s1"])
def published(request: pytest.FixtureRequest) -> Published:
    path = Path(__file__).parents[1] / "golden" / f"{request.param}.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        keys = [key for key in file.keys() if key.startswith("state.")]  # noqa: SIM118  not a mapping
        state = {key.removeprefix("state."): file.get_tensor(key) for key in keys}
    return metadata["implementation"], json.loads(metadata["config"]), state


def _refused(published: Published, changed: dict[str, Any], *, config: dict[str, Any] | None = None) -> str:
    implementation, own, state = published
    with pytest.raises((lp.CheckpointError, lp.ConfigError)) as caught:
        lp.from_published(implementation, {**own, **(config or {})}, {**state, **changed})
    line = str(caught.value)
    assert line.isprintable(), line
    assert len(line) < 1200, line
    return line


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0, 1e-320, 1e300])
def test_iteration_vectors_and_cached_weights_do_not_matter(published: Published, value: float) -> None:
    """The authors' own bound would be 0, NaN or anything; ours comes from the weights."""
    implementation, config, state = published
    honest = lp.from_published(implementation, config, state).digest
    cached = {key: torch.full_like(entry, value) for key, entry in state.items() if key.rsplit(".", 1)[-1] in CACHED}
    assert cached
    assert lp.from_published(implementation, config, {**state, **cached}).digest == honest


def test_cached_state_of_any_shape_does_not_matter(published: Published) -> None:
    implementation, config, state = published
    honest = lp.from_published(implementation, config, state).digest
    odd = {f"{path}{name}": torch.zeros(1).double() for name in CACHED for path in ("", "stem.0.", "nowhere.")}
    assert lp.from_published(implementation, config, {**state, **odd}).digest == honest


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_refused(published: Published, value: float) -> None:
    for key, entry in published[2].items():
        if key.rsplit(".", 1)[-1] not in (*CACHED, "identity"):
            broken = entry.clone()
            broken.view(-1)[-1] = value
            assert key in _refused(published, {key: broken}) or key.startswith("backbone.")


@pytest.mark.parametrize("value", [1e200, 1e308])
def test_weights_that_overflow_when_they_are_merged_are_refused_or_certified(
    published: Published, value: float
) -> None:
    """Never an infinite or NaN constant: an error, now or when it is certified."""
    implementation, config, state = published
    for key in ("stem.0.weight", "backbone.0.weight", "conv.weights", "neck.weight", "linear.gamma"):
        if key not in state:
            continue
        changed = {**state, key: state[key] * (value / float(state[key].abs().max()))}
        try:
            model = lp.from_published(implementation, config, changed)
            radius = lp.certify(model, torch.full((1, *model.input_shape), 0.3, dtype=torch.float64)).radius
        except lp.LipPluginError as error:
            assert "\n" not in str(error)
        else:
            assert bool((radius >= 0).all() and (radius < 1e6).all()), key


def test_head_rows_that_overflow_are_what_runs(published: Published) -> None:
    """Normalised, they vanish: the network is constant, so that every radius is right, and it runs as certified."""
    implementation, config, state = published
    huge = {"head.weight": state["head.weight"] * (1e200 / float(state["head.weight"].abs().max()))}
    model = lp.from_published(implementation, config, {**state, **huge})
    assert not model.head_weight.any()
    x = torch.rand(2, *model.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(model(x), model.head_bias.expand(2, -1))


def test_zero_weights_have_no_factorisation_or_certify_nothing(published: Published) -> None:
    implementation, config, state = published
    zeros = {key: torch.zeros_like(value) for key, value in state.items() if key not in HEADS and "identity" not in key}
    if implementation == "liresnet_pp":
        assert "do not merge" in _refused(published, zeros)
    head = {"head.weight": torch.zeros_like(state["head.weight"]), "head.bias": torch.zeros_like(state["head.bias"])}
    model = lp.from_published(implementation, config, {**state, **head})
    certificate = lp.certify(model, torch.full((1, *model.input_shape), 0.3, dtype=torch.float64))
    assert certificate.radius.tolist() == [0.0]  # all logits are equal everywhere


ENTRIES: dict[str, Any] = {
    "text": "torch.zeros(3)",
    "list": [1.0, 2.0],
    "none": None,
    "sparse": torch.zeros(3, 3).double().to_sparse(),
    "meta": torch.empty(10, 512, device="meta", dtype=torch.float64),
    "integers": torch.zeros(3, dtype=torch.int64),
    "complex": torch.zeros(3, dtype=torch.complex128),
    "one number, many times": torch.zeros(1).double().expand(2**20, 2**20),
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("key", ["head.weight", "stem.0.identity", "nowhere.init_x"])
def test_entries_that_are_no_plain_tensors(published: Published, key: str, name: str) -> None:
    _refused(published, {key: ENTRIES[name]})


SIZES = ["depth", "width", "input_size", "num_classes"]


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [2**15, 2**16, 2**31, 2**63, 10**4000, -(10**20), float("nan"), "9" * 10_000, [1]])
def test_a_config_that_asks_for_terabytes(published: Published, key: str, value: object) -> None:
    """Sizes are confirmed by the weights before anything is allocated: each of these ends at once."""
    _refused(published, {}, config={key: value})


def test_all_sizes_at_once(published: Published) -> None:
    _refused(published, {}, config={**dict.fromkeys(SIZES, 2**16), "dense_width": 2**16, "dense_depth": 2**16})


def test_keys_of_our_own_are_not_taken_for_published_ones(published: Published) -> None:
    """A stack under our own name beside the published blocks was once overwritten in silence."""
    for key in ("weights", "gamma", "bias", "backbone.weights", "\x1b[2J", "a" * 10_000):
        assert "unexpected keys" in _refused(published, {key: torch.zeros(1).double()})


def test_many_unknown_keys_make_one_readable_line(published: Published) -> None:
    assert "more" in _refused(published, {f"extra.{i}": torch.zeros(1).double() for i in range(5000)})


@pytest.mark.parametrize("value", [None, [], "depth: 3", 7])
def test_arguments_that_are_no_mappings(published: Published, value: Any) -> None:
    implementation, config, state = published
    with pytest.raises(lp.ConfigError, match="expected sizes under names"):
        lp.from_published(implementation, value, state)
    with pytest.raises(lp.CheckpointError, match="expected tensors under names"):
        lp.from_published(implementation, config, value)
    with pytest.raises(lp.ConfigError, match="no converter"):
        lp.from_published(value, config, state)
