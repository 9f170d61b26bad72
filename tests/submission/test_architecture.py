"""The network in plain torch: executed from its source alone, loaded by RobustBench's rule, equal bit for bit.

Not tested here: that RobustBench itself runs it (tests/adapters), and other machines than this one.
"""

from __future__ import annotations

import ast
import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.network import (
    Activation,
    AvgPool,
    CertifiedClassifier,
    ChannelShuffle,
    Conv,
    Dense,
    Flatten,
    Head,
    L2Pool,
    MaxPool,
    MinMax,
    Offset,
    Operator,
    PixelShuffle,
    PixelUnshuffle,
    Residual,
    Scale,
)
from lip_plugin.network.shapes import trace_shapes
from lip_plugin.submission.robustbench import state_dict_bytes
from lip_plugin.submission.robustbench.architecture import (
    architecture_source,
    class_name,
    module_name,
)
from lip_plugin.submission.robustbench.state_dict import plain_state_dict

SHIPPED = ("LipPlugin2026_LiResNet_Demo", "LipPlugin2026_LiResNet_S")


def as_robustbench_loads(content: bytes) -> dict[str, Tensor]:
    """What `robustbench.utils.load_model` makes of a checkpoint before it loads it strictly."""
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    for word in ("module.", "model."):
        state = {(key[len(word) :] if word in key else key): value for key, value in state.items()}
    return state


def rebuilt(model: CertifiedClassifier, name: str = "Toy2026Net") -> nn.Module:
    """From the source and the bytes alone: the random initial weights would show."""
    source = architecture_source(model, name)
    namespace: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(source, "architecture.py", "exec"), namespace)
    network: nn.Module = namespace[class_name(name)]()
    network.load_state_dict(as_robustbench_loads(state_dict_bytes(model)), strict=True)
    return network.eval()


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def classifier(
    operators: list[Operator], shape: tuple[int, int, int], dtype: torch.dtype = torch.float32
) -> CertifiedClassifier:
    """The operators, flattened where need be, and a head of 3 classes."""
    output = shape
    for operator in operators:
        output = operator.output_shape(output)
    layers = operators if len(output) == 1 else [*operators, Flatten()]
    features = trace_shapes([*layers, Flatten()], shape)[-1][0]
    head = Head(randn(3, features, seed=90, dtype=dtype), randn(3, seed=91, dtype=dtype))
    return CertifiedClassifier(layers, head, input_shape=shape)


def require_equal(model: CertifiedClassifier, plain: nn.Module) -> None:
    x = torch.rand((5, *model.input_shape), generator=torch.Generator().manual_seed(1), dtype=model.dtype)
    with torch.no_grad():
        assert torch.equal(plain(x), model(x))
        assert torch.isfinite(model(x)).all()
    ours, theirs = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    logits = plain(theirs)
    assert torch.equal(logits, model(ours))  # with gradients switched on, too
    weights = randn(*logits.shape, seed=2, dtype=model.dtype)
    (wanted,) = torch.autograd.grad((model(ours) * weights).sum(), ours)
    (found,) = torch.autograd.grad((logits * weights).sum(), theirs)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


MAP = (4, 8, 6)
ON_MAPS: dict[str, Operator] = {
    "scalar offset": Offset(torch.tensor(-0.5)),
    "offset per channel": Offset(randn(4, seed=1)),
    "scalar scale": Scale(torch.tensor(1.7)),
    "scale per channel": Scale(randn(4, seed=2)),
    "minmax": MinMax(),
    "relu": Activation("relu"),
    "abs": Activation("abs"),
    "tanh": Activation("tanh"),
    "sigmoid": Activation("sigmoid"),
    "leaky_relu": Activation("leaky_relu", 0.1),
    "leaky_relu of an integer slope": Activation("leaky_relu", -1),
    "elu": Activation("elu", 1e-05),
    "average": AvgPool((3, 2), (2, 1), (1, 1)),
    "average of squares": AvgPool((2, 2), (2, 2)),
    "maximum": MaxPool((3, 2), (2, 1), (1, 0), (2, 3)),
    "l2 pool": L2Pool((2, 3)),
    "l2 pool of squares": L2Pool((3, 3)),
    "pixel shuffle": PixelShuffle(2),
    "pixel unshuffle": PixelUnshuffle(2),
    "channel shuffle": ChannelShuffle(2),
    "flatten": Flatten(),
    "residual": Residual((Conv(randn(4, 4, 1, 1, seed=12)), MinMax()), (Offset(randn(4, seed=13)),)),
}
CONVS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zeros": {"padding": (1, 1, 1, 1)},
    "zeros, other on each axis": {"padding": (2, 2, 0, 0)},
    "zeros, other on each side": {"padding": (1, 0, 2, 1)},
    "circular": {"padding": (1, 1, 1, 1), "padding_mode": "circular"},
    "circular, other on each side": {"padding": (0, 2, 1, 0), "padding_mode": "circular"},
    "circular without padding": {"padding_mode": "circular"},
    "stride": {"stride": (2, 1)},
    "dilation": {"dilation": (1, 2)},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4},
}
ON_FEATURES: dict[str, Operator] = {
    "dense": Dense(randn(4, 6, seed=3), randn(4, seed=4)),
    "dense without bias": Dense(randn(4, 6, seed=5)),
    "offset per feature": Offset(randn(6, seed=6)),
    "scale per feature": Scale(randn(6, seed=7)),
    "minmax": MinMax(),
    "channel shuffle": ChannelShuffle(3),
}


@pytest.mark.parametrize("operator", ON_MAPS.values(), ids=ON_MAPS.keys())
def test_operators_on_maps(operator: Operator) -> None:
    model = classifier([operator], MAP)
    require_equal(model, rebuilt(model))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("settings", CONVS.values(), ids=CONVS.keys())
def test_convolutions(settings: dict[str, Any], bias: bool) -> None:
    weight = randn(8, 4 // settings.get("groups", 1), 3, 2, seed=8)
    model = classifier([Conv(weight, randn(8, seed=9) if bias else None, **settings)], MAP)
    require_equal(model, rebuilt(model))


@pytest.mark.parametrize("operator", ON_FEATURES.values(), ids=ON_FEATURES.keys())
def test_operators_on_features(operator: Operator) -> None:
    model = classifier([Flatten(), operator], (1, 2, 3))
    require_equal(model, rebuilt(model))


def chains() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 9), min_size=1, max_size=9)


def _link(number: int, seed: int) -> list[Operator]:
    """(4, 8, 6) -> (4, 8, 6)"""
    padding = (1, 1, 1, 1)
    links: list[list[Operator]] = [
        [Conv(randn(4, 4, 3, 3, seed=seed) / 4, randn(4, seed=seed + 1), padding=padding), MinMax()],
        [Conv(randn(4, 4, 3, 3, seed=seed) / 4, padding=padding)],
        [Conv(randn(4, 2, 3, 3, seed=seed) / 4, padding=padding, groups=2, padding_mode="circular")],
        [Offset(randn(4, seed=seed))],
        [Scale(randn(4, seed=seed)), Activation("tanh")],
        [Scale(torch.tensor(0.5)), Offset(torch.tensor(0.25))],
        [PixelUnshuffle(2), ChannelShuffle(4), PixelShuffle(2)],
        [Activation("abs"), Activation("leaky_relu", 0.3)],
        [AvgPool((3, 3), (1, 1), (1, 1))],
        [MaxPool((3, 3), (1, 1), (1, 1)), MinMax()],
    ]
    return links[number]


@given(links=chains())
def test_any_chain_of_them(links: list[int]) -> None:
    """Names, numbers, and lists of equal neighbours, in whatever order the layers come."""
    operators = [operator for place, link in enumerate(links) for operator in _link(link, 10 * place)]
    model = classifier([*operators, Flatten(), *_dense_part()], MAP)
    require_equal(model, rebuilt(model))


def _dense_part() -> list[Operator]:
    return [
        Dense(randn(6, 192, seed=70) / 14, randn(6, seed=71)),
        *[layer for seed in range(72, 75) for layer in (Dense(randn(6, 6, seed=seed)), MinMax())],
    ]


def test_equal_neighbours_become_one_list() -> None:
    operators = [layer for seed in range(3) for layer in _link(0, seed)]
    source = architecture_source(classifier([*operators, *_link(1, 5)], MAP), "Toy2026Net")
    assert "self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))" in source
    assert "self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)" in source
    assert "        for conv in self.convs:\n            x = minmax(conv(x))\n        x = self.conv(x)\n" in source
    assert "l2_pool" not in source


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models(name: str) -> None:
    model = lp.load_model(name)
    require_equal(model, rebuilt(model, name))
    assert len(architecture_source(model, name).splitlines()) < 50


def test_float64_stays_float64() -> None:
    double = torch.float64
    operators: list[Operator] = [
        Offset(randn(4, seed=1, dtype=double)),
        Conv(randn(8, 4, 3, 3, seed=2, dtype=double), randn(8, seed=3, dtype=double)),
        MinMax(),
    ]
    model = classifier(operators, MAP, double)
    plain = rebuilt(model)
    assert {value.dtype for value in plain.state_dict().values()} == {double}
    require_equal(model, plain)


# -- the state dict -------------------------------------------------------------------------------


def test_equal_weights_give_equal_bytes_and_other_weights_other_ones() -> None:
    name = SHIPPED[1]
    content = state_dict_bytes(lp.load_model(name))
    assert content == state_dict_bytes(lp.load_model(name))
    assert content[:4] == b"PK\x03\x04"
    model = classifier([Scale(torch.tensor(0.5))], MAP)
    moved = classifier([Scale(torch.tensor(0.25))], MAP)
    assert state_dict_bytes(model) != state_dict_bytes(moved)


def test_the_state_dict_holds_every_weight_of_the_network() -> None:
    model = lp.load_model(SHIPPED[0])
    stored = list(plain_state_dict(model).values())
    assert len(stored) == len(list(model.buffers()))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(stored, model.buffers(), strict=True))


# -- names ----------------------------------------------------------------------------------------


@given(name=st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(['"""', "\\", "1", "é", "#", "class", "None"])))
def test_any_name_makes_a_class_and_a_module(name: str) -> None:
    assert class_name(name).isidentifier() and class_name(name).isascii()
    assert module_name(name).isidentifier()


def test_a_hostile_name_stays_a_name() -> None:
    name = 'x"""; import os; raise SystemExit(1) #\\'
    model = classifier([MinMax()], MAP)
    require_equal(model, rebuilt(model, name))

    def imported(name: str) -> set[str]:
        tree = ast.parse(architecture_source(model, name))
        return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}

    torch_alone = {"import torch", "import torch.nn.functional as F", "from torch import nn"}
    assert imported(name) == imported("Honest") == torch_alone
