"""Published checkpoints against recorded runs of the authors' code: logits, losses, gradients, constants."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

import lip_plugin as lp
from lip_plugin.errors import CheckpointError, ConfigError, LipPluginError
from lip_plugin.losses import emma_loss, gloro_trades_loss, margin_loss
from lip_plugin.network import Conv

GOLDEN = ["hu23_cifar_s1", "hu23_tiny_s1", "liresnetpp_cifar_s1", "liresnetpp_tiny_s1"]
LOSSES: dict[str, Callable[..., Tensor]] = {"emma": emma_loss, "trades": gloro_trades_loss, "margin": margin_loss}
NOT_TRUSTED = ("identity", "init_x", "init_layer", "eval_weight")


@dataclass(frozen=True)
class Golden:
    """One recorded run, all float64."""

    implementation: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    recorded: dict[str, Tensor]

    def converted(self) -> lp.CertifiedClassifier:
        return lp.from_published(self.implementation, self.config, self.state)

    def converted_from(self, **changed: Tensor) -> lp.CertifiedClassifier:
        return lp.from_published(self.implementation, self.config, {**self.state, **changed})


@pytest.fixture(params=GOLDEN)
def golden(request: pytest.FixtureRequest, golden_dir: Path) -> Golden:
    with safe_open(golden_dir / f"{request.param}.safetensors", framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a mapping
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    recorded = {key: value for key, value in tensors.items() if not key.startswith("state.")}
    return Golden(metadata["implementation"], json.loads(metadata["config"]), state, recorded)


def test_logits(golden: Golden) -> None:
    network = golden.converted()
    assert network.dtype == torch.float64
    assert network.num_classes == golden.config["num_classes"]
    expected = golden.recorded["logits_eval"]
    assert torch.allclose(network(golden.recorded["input"]), expected, rtol=1e-9, atol=1e-11)
    assert float(expected.std()) > 1e-3


def test_losses_and_head_gradients(golden: Golden) -> None:
    """pair = sub_lipschitz ||w_i - w_j|| of the normalised rows; features and sub_lipschitz held constant."""
    recorded, state = golden.recorded, golden.state
    features = golden.converted().features(recorded["input"])
    names = [name for name in LOSSES if f"loss.{name}" in recorded]
    assert len(names) >= 2
    for name in names:
        raw = state["head.weight"].clone().requires_grad_(True)
        rows = F.normalize(raw, dim=1)
        pair = recorded["sub_lipschitz"] * (rows[:, None] - rows[None]).square().sum(2).clamp_min(1e-300).sqrt()
        pair = pair * (1 - torch.eye(len(rows), dtype=torch.float64))
        logits = features @ rows.T + state["head.bias"]
        loss = LOSSES[name](logits, recorded["label"], pair_lipschitz=pair, eps=float(recorded["eps"]))
        assert float(loss.detach()) == pytest.approx(float(recorded[f"loss.{name}"]), rel=1e-9)
        (gradient,) = torch.autograd.grad(loss, raw)
        expected = recorded[f"grad_head.{name}"]
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_sound_bound_is_just_above_the_published_constant(golden: Golden) -> None:
    """The authors' power iteration converges from below; ours may not be below it, nor far above."""
    published = float(golden.recorded["sub_lipschitz"])
    bound = lp.lipschitz_upper_bound(golden.converted()).value
    assert published * (1 - 1e-3) <= bound <= published * 1.02


def test_stored_state_is_not_trusted(golden: Golden) -> None:
    """Iteration vectors and cached weights may hold anything, or be absent."""
    digest = golden.converted().digest
    cached = [key for key in golden.state if key.rsplit(".", 1)[-1] in NOT_TRUSTED[1:]]
    assert cached
    for value in (0.0, float("nan"), 7.0):
        spoiled = {key: torch.full_like(golden.state[key], value) for key in cached}
        assert golden.converted_from(**spoiled).digest == digest
    without = {key: value for key, value in golden.state.items() if key not in cached}
    assert lp.from_published(golden.implementation, golden.config, without).digest == digest


def test_a_tampered_identity_is_refused(golden: Golden) -> None:
    identities = [key for key in golden.state if key.endswith("identity")]
    assert identities
    for key in identities:
        tampered = golden.state[key].clone()
        tampered.view(-1)[1] += 1e-12
        for value in (tampered, torch.zeros_like(tampered), -golden.state[key], tampered[0], torch.ones(())):
            with pytest.raises(CheckpointError, match=f"buffer {key} is not the identity"):
                golden.converted_from(**{key: value.double()})


def test_missing_and_extra_keys_are_refused(golden: Golden) -> None:
    needed = [key for key in golden.state if key.rsplit(".", 1)[-1] not in NOT_TRUSTED]
    for key in needed:
        missing = {name: value for name, value in golden.state.items() if name != key}
        with pytest.raises(CheckpointError, match="lacks"):
            lp.from_published(golden.implementation, golden.config, missing)
    for extra in ("head.scale", "backbone.99.weight", "stem.1.weight", "module.head.weight"):
        with pytest.raises(CheckpointError, match=extra):
            golden.converted_from(**{extra: torch.zeros(1, dtype=torch.float64)})


def test_wrong_shapes_and_dtypes_are_refused(golden: Golden) -> None:
    for key, value in golden.state.items():
        if key.rsplit(".", 1)[-1] in NOT_TRUSTED:
            continue
        for changed in (torch.cat([value, value]), value[:0], value.flatten()[0]):
            with pytest.raises(LipPluginError):
                golden.converted_from(**{key: changed})
        for dtype in (torch.float32, torch.int64):
            with pytest.raises(CheckpointError, match="mixes dtypes"):
                golden.converted_from(**{key: value.to(dtype)})


def test_float32_is_kept(golden: Golden) -> None:
    single = {key: value.float() for key, value in golden.state.items()}
    network = lp.from_published(golden.implementation, golden.config, single)
    assert network.dtype == torch.float32
    logits = network(golden.recorded["input"].float()).double()
    assert torch.allclose(logits, golden.recorded["logits_eval"], atol=1e-4)


def test_the_state_dict_is_copied_and_left_alone(golden: Golden) -> None:
    before = {key: value.clone() for key, value in golden.state.items()}
    network = golden.converted()
    digest = network.digest
    assert all(torch.equal(value, before[key]) for key, value in golden.state.items())
    for value in golden.state.values():
        value.zero_()
    assert network.digest == digest


@pytest.mark.parametrize("key", ["depth", "width", "input_size", "num_classes"])
@pytest.mark.parametrize("value", [None, 0, -1, 2.0, "3", True])
def test_configs_that_do_not_fit_are_refused(key: str, value: object, golden: Golden) -> None:
    with pytest.raises(ConfigError, match=key):
        lp.from_published(golden.implementation, {**golden.config, key: value}, golden.state)


@pytest.mark.parametrize("key", ["depth", "width", "num_classes"])
def test_configs_of_another_size_are_refused(key: str, golden: Golden) -> None:
    with pytest.raises(CheckpointError):
        lp.from_published(golden.implementation, {**golden.config, key: golden.config[key] + 2}, golden.state)


def test_other_implementations_and_architectures_are_refused(golden: Golden) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'hu23'"):
        lp.from_published("hu24", golden.config, golden.state)
    if golden.implementation == "hu23":
        with pytest.raises(ConfigError, match="linear_res"):
            lp.from_published("hu23", {**golden.config, "arch": "conv"}, golden.state)


def test_blocks_are_merged_into_one_convolution_each(golden: Golden) -> None:
    """Kernel of the first block = delta + L^{-1/2} gamma K, from the raw state."""
    network, state, depth = golden.converted(), golden.state, golden.config["depth"]
    convs = [layer for layer in network.operators if isinstance(layer, Conv)]
    assert len(convs) == depth + 2
    if golden.implementation == "hu23":
        kernel, gamma = state["backbone.0.weight"], state["backbone.0.affine"]
    else:
        kernel, gamma = state["conv.weights"][0], state["conv.gamma"][0]
    expected = depth**-0.5 * gamma * kernel
    for channel in range(len(expected)):
        expected[channel, channel, 1, 1] += 1
    assert torch.allclose(convs[1].weight, expected, rtol=1e-14, atol=1e-15)
