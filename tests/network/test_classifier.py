"""CertifiedClassifier: a digest over everything that counts, and no way to change what was certified by accident."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lip_plugin import load_model
from lip_plugin.errors import CheckpointError, ConfigError, DataError, UnsupportedLayerError
from lip_plugin.network import (
    Activation,
    CertifiedClassifier,
    Conv,
    Dense,
    Flatten,
    Head,
    MaxPool,
    MinMax,
    Operator,
    Scale,
    float64_logits,
)

Randn = Callable[..., Tensor]
Make = Callable[[torch.dtype], CertifiedClassifier]


def _rebuilt(network: CertifiedClassifier, index: int, operator: Operator) -> CertifiedClassifier:
    layers = [operator if position == index else layer for position, layer in enumerate(network.layers)]
    head = layers[-1]
    assert isinstance(head, Head)
    return CertifiedClassifier(layers[:-1], head, input_shape=network.input_shape)


def test_digest_changes_with_every_single_weight(network: CertifiedClassifier) -> None:
    """The smallest change of one entry of each tensor."""
    seen = {network.digest}
    for index, layer in enumerate(network.layers):
        for name, value in layer.tensors().items():
            changed = value.clone()
            flat = changed.view(-1)
            flat[-1] = torch.nextafter(flat[-1], flat[-1] + 1)
            seen.add(_rebuilt(network, index, layer.with_tensors({name: changed})).digest)
    assert len(seen) == 1 + sum(len(layer.tensors()) for layer in network.layers)


def _position(layers: Sequence[Operator], function: str) -> int:
    return next(i for i, layer in enumerate(layers) if isinstance(layer, Activation) and layer.function == function)


def test_digest_changes_with_settings_kinds_bias_and_dtype(network: CertifiedClassifier, make_network: Make) -> None:
    layers = network.layers
    kinds = [layer.kind for layer in layers]
    elu_at, pool_at = _position(layers, function="elu"), kinds.index("max_pool")
    conv, elu, pool, leaky = (
        layers[1],
        layers[elu_at],
        layers[pool_at],
        layers[_position(layers, function="leaky_relu")],
    )
    assert isinstance(conv, Conv) and isinstance(elu, Activation) and isinstance(leaky, Activation)
    assert isinstance(pool, MaxPool)
    variants = [
        _rebuilt(network, 1, replace(conv, padding_mode="circular")),
        _rebuilt(network, 1, replace(conv, padding=(0, 2, 1, 1))),
        _rebuilt(network, 1, replace(conv, bias=None)),
        _rebuilt(network, 1, replace(conv, bias=torch.zeros(4, dtype=torch.float64))),
        _rebuilt(network, elu_at, replace(elu, parameter=0.70000001)),
        _rebuilt(network, elu_at, replace(elu, function="leaky_relu")),
        _rebuilt(network, pool_at, replace(pool, kernel=(1, 1), padding=(0, 0))),
        _rebuilt(network, 2, Activation("relu")),
        _rebuilt(network, kinds.index("scale"), Scale(torch.tensor(1.0, dtype=torch.float64))),
    ]
    assert len({variant.digest for variant in variants} | {network.digest}) == len(variants) + 1
    assert make_network(torch.float32).digest != network.digest


def test_digest_changes_with_the_input_shape_and_the_shape_of_equal_bytes(randn: Randn) -> None:
    head = Head(randn(2, 1), None)
    pool: Sequence[Operator] = (MaxPool((9, 9), (9, 9)), Flatten())
    shapes = [(1, 9, 9), (1, 10, 9), (1, 9, 10)]
    digests = {CertifiedClassifier(pool, head, input_shape=shape).digest for shape in shapes}
    values = randn(12)
    for outputs in (2, 6):
        body = [Flatten(), Dense(values.view(outputs, 12 // outputs)), Activation("relu")]
        square = Head(torch.ones(2, outputs, dtype=torch.float64))
        digests.add(CertifiedClassifier(body, square, input_shape=(12 // outputs, 1, 1)).digest)
    for isometry in (MinMax(), Flatten()):  # no settings, no tensors: the kind alone tells them apart
        body = [Flatten(), isometry]
        digests.add(
            CertifiedClassifier(body, Head(torch.ones(2, 4, dtype=torch.float64)), input_shape=(1, 2, 2)).digest
        )
    assert len(digests) == 7


def _assert_same_and_tied(network: CertifiedClassifier, copied: CertifiedClassifier, x: Tensor) -> None:
    assert copied.digest == network.digest
    assert torch.equal(copied(x), network(x))
    _assert_tied(copied)


def _assert_tied(network: CertifiedClassifier) -> None:
    buffers = {value.data_ptr(): name for name, value in network.named_buffers()}
    held = [value.data_ptr() for layer in network.layers for value in layer.tensors().values()]
    assert sorted(held) == sorted(buffers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_and_moves_keep_everything(dtype: torch.dtype, make_network: Make, randn: Randn) -> None:
    network, x = make_network(dtype), randn(2, 3, 8, 8, dtype=dtype)
    stored = io.BytesIO()
    torch.save(network, stored)
    stored.seek(0)
    copies = [
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        torch.load(stored, weights_only=False),
        copy.deepcopy(network).to("cpu"),
        copy.deepcopy(network).cpu().to(dtype),
        copy.deepcopy(network).to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        copy.deepcopy(network).share_memory(),
        copy.deepcopy(network).train(),
    ]
    for copied in copies:
        _assert_same_and_tied(network, copied, x)
    copies[0].get_buffer("01_weight").mul_(2.0)
    assert copies[0].digest != network.digest  # copies share nothing
    _assert_tied(network)


def test_operators_follow_the_buffers_through_apply(network: CertifiedClassifier, randn: Randn) -> None:
    """What runs and what is certified stay one thing, whatever function `_apply` is given."""
    x, before = randn(2, 3, 8, 8), network.digest
    network._apply(lambda value: value.clone())  # pyright: ignore[reportPrivateUsage]
    _assert_tied(network)
    assert network.digest == before
    network._apply(lambda value: value * 0.0)  # pyright: ignore[reportPrivateUsage]
    _assert_tied(network)
    assert network.digest != before
    assert torch.equal(network(x), torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("cast", ["half", "float", "bfloat16"])
def test_casts_are_refused(cast: str, network: CertifiedClassifier) -> None:
    before = network.digest
    with pytest.raises(ConfigError, match="keeps its dtype"):
        getattr(network, cast)()
    with pytest.raises(ConfigError, match="keeps its dtype"):
        network.to(torch.float32)
    assert network.digest == before
    assert network.double() is network


def test_double_is_refused_for_float32(make_network: Make) -> None:
    network = make_network(torch.float32)
    with pytest.raises(ConfigError, match="cast the trainable model"):
        network.double()
    assert network.float().dtype == torch.float32


def test_assignment_and_loading_are_refused(network: CertifiedClassifier) -> None:
    before = network.digest
    for name in ("_layers", "_dtype", "forward", "features", "anything", "head"):
        with pytest.raises(ConfigError, match="immutable"):
            setattr(network, name, None)
    with pytest.raises(ConfigError, match="immutable"):
        setattr(network, "01_weight", torch.zeros(4, 3, 3, 3, dtype=torch.float64))
    with pytest.raises(ConfigError, match="cannot load"):
        network.load_state_dict(network.state_dict())
    for operator in network.layers:
        with pytest.raises(AttributeError):
            operator.kind = "conv"  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(AttributeError):
            operator.weight = torch.zeros(1)  # pyright: ignore[reportAttributeAccessIssue]
    assert network.digest == before
    assert list(network.parameters()) == []


def test_weights_are_copied_at_construction(randn: Randn) -> None:
    weight = randn(3, 4)
    network = CertifiedClassifier([Flatten()], Head(weight), input_shape=(1, 2, 2))
    before = network.digest
    weight.zero_()
    assert network.digest == before
    assert torch.equal(network.head_bias, torch.zeros(3, dtype=torch.float64))
    assert network.num_parameters == 12


def test_training_mode_changes_nothing(network: CertifiedClassifier, randn: Randn) -> None:
    x = randn(2, 3, 8, 8)
    logits = network(x)
    assert torch.equal(network.train()(x), logits)
    assert torch.equal(network.eval()(x), logits)


def test_features_and_head_make_the_logits(network: CertifiedClassifier, randn: Randn) -> None:
    x = randn(5, 3, 8, 8)
    features = network.features(x)
    expected = torch.stack([network.head_weight @ row + network.head_bias for row in features])
    assert torch.allclose(network(x), expected, rtol=1e-13, atol=1e-13)
    assert features.shape == (5, 4)


def test_float64_program_of_a_float32_network(make_network: Make, randn: Randn) -> None:
    """Weights widened exactly: equal to a float64 network over the same numbers, and near the float32 logits."""
    network, x = make_network(torch.float32), randn(3, 3, 8, 8, dtype=torch.float32)
    wide = [layer.map_tensors(torch.Tensor.double) for layer in network.layers]
    head = wide[-1]
    assert isinstance(head, Head)
    reference = CertifiedClassifier(wide[:-1], head, input_shape=(3, 8, 8))
    logits = float64_logits(network, x)
    assert logits.dtype == torch.float64
    assert torch.equal(logits, reference(x.double()))
    assert torch.allclose(network(x).double(), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3, 8, 9), torch.float64), ((3, 8, 8), torch.float64), ((2, 3, 8, 8), torch.float32)]
)
def test_inputs_that_do_not_fit_are_refused(
    shape: tuple[int, ...], dtype: torch.dtype, network: CertifiedClassifier
) -> None:
    with pytest.raises(DataError, match=r"expected torch\.float64 of shape"):
        network(torch.zeros(shape, dtype=dtype))


def test_networks_that_are_none_are_refused(randn: Randn) -> None:
    dense = Dense(randn(4, 12))
    for operators, head, words in [
        ([Flatten(), dense], Head(randn(3, 5)), "layer 2"),
        ([dense], Head(randn(3, 4)), "layer 0"),
        ([], Head(randn(3, 12)), "layer 0"),
        ([Flatten(), dense], Head(randn(1, 4)), "at least 2 classes"),
        ([Flatten(), Dense(randn(4, 12, dtype=torch.float32))], Head(randn(3, 4)), "one dtype"),
        ([Flatten(), Dense(randn(3, 12)), MinMax()], Head(randn(3, 3)), "layer 2: minmax"),
    ]:
        with pytest.raises(UnsupportedLayerError, match=words):
            CertifiedClassifier(operators, head, input_shape=(3, 2, 2))
    half = [Flatten(), Dense(randn(4, 12).half())]
    with pytest.raises(UnsupportedLayerError, match="float32 or float64"):
        CertifiedClassifier(half, Head(randn(3, 4).half()), input_shape=(3, 2, 2))
    with pytest.raises(UnsupportedLayerError, match="head"):
        CertifiedClassifier([Flatten()], Dense(randn(3, 12)), input_shape=(3, 2, 2))  # pyright: ignore[reportArgumentType]


def test_it_is_a_module_that_optimisers_find_nothing_in(network: CertifiedClassifier) -> None:
    assert isinstance(network, nn.Module)
    assert not any(value.requires_grad for value in network.state_dict().values())


@pytest.mark.parametrize("setting", [1e39, -1e39, 2.0**128])
@pytest.mark.parametrize("function", ["leaky_relu", "elu"])
def test_settings_are_finite_in_the_networks_own_dtype(function: str, setting: float, tmp_path: Path) -> None:
    """A slope that float64 holds and float32 does not: refused when it is made, and when it is loaded."""
    layers: list[Operator] = [Activation(function, setting), Flatten()]
    head = Head(torch.eye(4)[:2])
    with pytest.raises(
        UnsupportedLayerError, match=r"layer 0 \(activation\): parameter .* not finite in torch.float32"
    ):
        CertifiedClassifier(layers, head, input_shape=(1, 2, 2))
    wide = CertifiedClassifier(layers, head.map_tensors(torch.Tensor.double), input_shape=(1, 2, 2))
    assert wide.operators[0].settings()["parameter"] == setting
    narrow = CertifiedClassifier([Activation(function, 1.0), Flatten()], head, input_shape=(1, 2, 2))
    narrow.save(tmp_path / "model")
    card = (tmp_path / "model/card.json").read_text().replace('"parameter": 1.0', f'"parameter": {setting!r}')
    (tmp_path / "model/card.json").write_text(card)
    with pytest.raises(CheckpointError, match=r"is not finite in torch\.float32"):
        load_model(tmp_path / "model")
