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
from lip_plugin.losses import emma_loss, gloro_trades_loss, logit_annealing_loss, margin_loss
from lip_plugin.network import Conv, FrequencyConv

GOLDEN = [
    "hu23_cifar_s1",
    "hu23_tiny_s1",
    "liresnetpp_cifar_s1",
    "liresnetpp_tiny_s1",
    "bronet_cifar_s1",
    "bronet_tiny_s1",
    "bronet_hybrid_s1",
]
LOSSES: dict[str, Callable[..., Tensor]] = {
    "emma": emma_loss,
    "trades": gloro_trades_loss,
    "margin": margin_loss,
    "logit_annealing": logit_annealing_loss,
}
CACHED = ("init_x", "init_layer", "eval_weight")
IDENTITIES = ("identity", "identity_half", "residual_identity", "I_low", "I_full")
NOT_TRUSTED = (*CACHED, *IDENTITIES)


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
    cached = [key for key in golden.state if key.rsplit(".", 1)[-1] in CACHED]
    assert cached
    for value in (0.0, float("nan"), 7.0):
        spoiled = {key: torch.full_like(golden.state[key], value) for key in cached}
        assert golden.converted_from(**spoiled).digest == digest
    without = {key: value for key, value in golden.state.items() if key not in cached}
    assert lp.from_published(golden.implementation, golden.config, without).digest == digest


def test_a_tampered_identity_is_refused(golden: Golden) -> None:
    identities = [key for key in golden.state if key.rsplit(".", 1)[-1] in IDENTITIES]
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
    config = {**golden.config, key: golden.config[key] + 2}
    contradicts_itself = key == "depth" and "depth_1" in config  # depth is the sum of two others
    with pytest.raises(ConfigError if contradicts_itself else CheckpointError):
        lp.from_published(golden.implementation, config, golden.state)


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
    if golden.implementation == "hu23":
        kernel, gamma = state["backbone.0.weight"], state["backbone.0.affine"]
    elif golden.implementation == "liresnet_pp":
        kernel, gamma = state["conv.weights"][0], state["conv.gamma"][0]
    elif "conv_1.weights" in state:
        kernel, gamma, depth = state["conv_1.weights"][0], state["conv_1.gamma"][0], golden.config["depth_1"]
    else:  # all of its blocks are reflectors, one operator each
        assert [type(layer) for layer in network.operators].count(FrequencyConv) == depth
        return
    assert len(convs) == depth + (1 if golden.implementation == "bronet" else 2)
    expected = depth**-0.5 * gamma * kernel
    for channel in range(len(expected)):
        expected[channel, channel, 1, 1] += 1
    assert torch.allclose(convs[1].weight, expected, rtol=1e-14, atol=1e-15)


def test_reflectors_are_what_their_definition_says(golden: Golden) -> None:
    """I - 2 V (V^H V + r I)^{-1} V^H of the first one at some frequencies, V tap by tap, the inverse by LAPACK."""
    layers = [layer for layer in golden.converted().operators if isinstance(layer, FrequencyConv)]
    if golden.implementation != "bronet":
        assert not layers
        return
    depth = golden.config.get("depth_2", golden.config["depth"])
    assert len(layers) == depth
    v = golden.state["conv.identity"] + depth**-0.5 * golden.state["conv.gamma"][0] * golden.state["conv.weights"][0]
    side, width = layers[0].factor.shape[0], v.shape[0]
    direction = 1j if golden.config["backbone_type"].endswith("v2") else -1j
    taps = torch.arange(3, dtype=torch.float64)
    for k, l in ((0, 0), (1, 2), (side - 1, 1), (3, side // 2)):  # noqa: E741
        turns = torch.exp(direction * 2 * torch.pi * (k * taps[:, None] + l * taps[None]) / side)
        symbol = (v * turns).sum((2, 3))
        gram = symbol.mH @ symbol
        ridge = 1e-7 * gram.diagonal().real.mean() * torch.eye(len(gram), dtype=gram.dtype)
        expected = torch.eye(width) - 2 * symbol @ torch.linalg.inv(gram + ridge) @ symbol.mH
        real, imaginary = layers[0].factor[k, l].split(width)
        u = torch.complex(real, imaginary)
        assert torch.allclose(torch.eye(width) - u @ u.mH, expected, atol=1e-12)


OTHER_SETTINGS: dict[str, tuple[object, str]] = {
    # key: (a value of the published code that is not converted, what the error says)
    "backbone_type": ("soc", "converted are bro, brov2"),
    "neck_conv_type": ("default", "converted are cholesky, bro, l2"),
    "neck_linear_type": (3, "converted are cholesky, bro"),
    "dense_type": ("sll", "converted are cholesky, bro"),
    "backbone_weight_rank_ratio": (2.0, "from 0 to 1"),
    "backbone_quasi_residual": (False, "only True is converted"),
    "neck_conv_patch_size_2": (2, "only 0 is converted"),
    "act_name": ("hh1", "only 'MinMax'"),
    "neck_conv_patch_size": (3, "does not divide"),
    "width": (17, "no model that can be built"),
}


@pytest.mark.parametrize("key", OTHER_SETTINGS)
@pytest.mark.parametrize("golden", [name for name in GOLDEN if name.startswith("bronet")], indirect=True)
def test_other_settings_of_bronet_are_refused(key: str, golden: Golden) -> None:
    value, message = OTHER_SETTINGS[key]
    with pytest.raises(ConfigError, match=message):
        lp.from_published("bronet", {**golden.config, key: value}, golden.state)


@pytest.mark.parametrize("golden", [name for name in GOLDEN if name.startswith("bronet")], indirect=True)
def test_another_kind_of_layer_is_refused_by_the_shapes(golden: Golden) -> None:
    config = golden.config
    other = {"cholesky": "bro", "bro": "cholesky", "l2": "cholesky"}
    for key in ("neck_conv_type", "neck_linear_type", "dense_type"):
        with pytest.raises(CheckpointError):
            lp.from_published("bronet", {**config, key: other[config[key]]}, golden.state)
    if "hybrid" not in config["backbone_type"]:
        with pytest.raises(CheckpointError, match=r"config implies|lacks"):
            lp.from_published("bronet", {**config, "backbone_type": "brov2", "neck_conv_patch_size": 2}, golden.state)
