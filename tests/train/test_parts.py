"""Schedules, configuration, augmentation and the training estimates, each against another computation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.models import CertifiableModel, LiResNet, LiResNetPP
from lip_plugin.models.base import EstimatedMap
from lip_plugin.models.liresnet_pp import LiResNetPPConfig
from lip_plugin.network import Conv, Dense, LinearOperator
from lip_plugin.train.config import load_config, recipe_names
from lip_plugin.train.estimates import (
    EstimateState,
    feature_lipschitz_estimate,
    label_lipschitz_estimate,
    pair_lipschitz_estimate,
)
from lip_plugin.train.schedule import eps_at, learning_rate_at

Randn = Callable[..., Tensor]

# -- schedules --------------------------------------------------------------------------------------


def test_eps_ramp_by_hand() -> None:
    """From 0.1 to 1.5 times eps over the first half of 10 epochs, then constant."""
    found = [eps_at(epoch, 10, 0.5, (0.1, 1.5)) for epoch in range(10)]
    expected = [0.05, 0.19, 0.33, 0.47, 0.61, 0.75, 0.75, 0.75, 0.75, 0.75]
    assert found == pytest.approx(expected, rel=1e-12)
    assert eps_at(0, 1, 0.5, (0.1, 1.5)) == pytest.approx(0.05)
    assert [eps_at(epoch, 4, 1.0, (2.0, 1.0)) for epoch in range(4)] == [2.0, 1.5, 1.0, 1.0]


def test_learning_rate_by_hand() -> None:
    """4 warm-up steps of 12: quarters of the peak, then half a cosine over 8 steps."""
    found = [learning_rate_at(step, 12, 0.8, 4) for step in range(12)]
    cosine = [0.4 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, *cosine], rel=1e-12)
    assert learning_rate_at(0, 5, 0.8, 0) == 0.8
    assert learning_rate_at(0, 1, 0.8, 1) == 0.8
    assert all(0 < learning_rate_at(step, 100, 1.0, 5) <= 1.0 for step in range(100))


# -- configuration ----------------------------------------------------------------------------------

MINIMAL = "dataset: mnist\neps: 0.5\nepochs: 3\n"


def _file(tmp_path: Path, text: str = MINIMAL) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_with_dotted_overrides(tmp_path: Path) -> None:
    config = load_config(_file(tmp_path), ["epochs=7", "model.width=8", "eps_ramp=[0.2, 2]", "augment.flip=false"])
    assert (config.epochs, config.eps_ramp, config.augment.flip) == (7, (0.2, 2.0), False)
    assert (config.eps, config.dataset) == (0.5, "mnist")
    assert config.model == LiResNetPPConfig(width=8)
    assert load_config(_file(tmp_path)).epochs == 3


@pytest.mark.parametrize("recipe", recipe_names())
def test_shipped_recipes_are_valid(recipe: str) -> None:
    config = load_config(recipe, ["epochs=2"])
    assert config.epochs == 2 and config.name


def test_the_licence_of_a_recipe_is_that_of_its_data_set() -> None:
    """Which says whose images the weights come from: of others it would be a false statement on the card."""
    of_cifar = load_config("cifar10_small").card
    assert of_cifar.licence is not None and "CIFAR-10" in of_cifar.licence
    assert load_config("cifar10_small", ["dataset=cifar10"]).card == of_cifar
    for dataset in ("npz:a.npz", "cifar100"):
        assert load_config("cifar10_small", [f"dataset={dataset}"]).card.licence is None
        assert load_config("cifar10_small", ["card.licence=MIT", f"dataset={dataset}"]).card.licence == "MIT"
    assert load_config("cifar10", ["dataset=npz:a.npz"]).card.licence is None  # a recipe without a card


def test_pictures_are_decoded_by_no_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (3, 3), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert load_config("cifar10_small").pictures.workers == workers


@pytest.mark.parametrize("written", ["36/255", "'36/255'", "0.1411764705882353"])
def test_radii_are_written_as_everywhere(written: str, tmp_path: Path) -> None:
    recipe = _file(tmp_path, MINIMAL.replace("eps: 0.5", f"eps: {written}") + f"eps_grid: [{written}, 1]\n")
    for config in (load_config(recipe), load_config(_file(tmp_path), [f"eps={written}", f"eps_grid=[{written}, 1]"])):
        assert (config.eps, config.eps_grid) == (36 / 255, (36 / 255, 1.0))


def test_a_grid_is_written_as_for_other_commands(tmp_path: Path) -> None:
    for text, grid in {"36/255,0.5": (36 / 255, 0.5), "0.25": (0.25,), "1": (1.0,), "36/255": (36 / 255,)}.items():
        assert load_config(_file(tmp_path), [f"eps_grid={text}"]).eps_grid == grid


BAD: dict[str, tuple[list[str], str]] = {
    "eps over nothing": (["eps=36/0"], "setting eps: eps '36/0' is not a number; .*36/255, got '36/0'"),
    "eps that is no number": (["eps=many"], "setting eps: eps 'many' is not a number"),
    "no eps": (["eps=0/255"], "setting eps: .*greater than 0"),
    "negative eps in a grid": (["eps_grid=36/255,-1"], r"setting eps_grid\.1: eps '-1' must be at least 0"),
    "typo": (["epoch=3"], r"unknown setting 'epoch'; Did you mean 'epochs'"),
    "typo in a group": (["model.widht=8"], r"unknown setting 'model\.widht'; Did you mean '(dense_)?width'"),
    "text for a number": (["epochs=many"], "setting epochs: .*got 'many'"),
    "fraction for an integer": (["epochs=2.5"], "setting epochs: .*got 2.5"),
    "zero epochs": (["epochs=0"], "setting epochs: .*greater than or equal to 1"),
    "odd width": (["model.width=7"], r"setting model\.width: .*multiple of 2"),
    "learning rate beyond float32": (["learning_rate=1.0e38"], r"setting learning_rate: .*less than or equal to"),
    "negative eps": (["eps=-1"], "setting eps: .*greater than 0"),
    "infinite eps": (["eps=.inf"], "setting eps: .*finite"),
    "NaN ramp": (["eps_ramp=[0.1, .nan]"], r"setting eps_ramp\.1: .*finite"),
    "three ramp values": (["eps_ramp=[1, 2, 3]"], "setting eps_ramp"),
    "list for a group": (["model=[1]"], "setting model: "),
    "unknown data set": (
        ["dataset=imagenette"],
        "setting dataset: no such data set as 'imagenette'; known: cifar10, .*Did you mean 'imagenet'",
    ),
    "unknown architecture": (["model.architecture=resnet"], r"setting model\.architecture"),
    "null": (["eps=null"], "setting eps"),
    "no equals sign": (["epochs"], "not of the form key=value"),
    "no key": (["=3"], "not of the form key=value"),
    "value taken for a group": (["eps.value=3"], "'eps' is a value, not a group"),
    "bad YAML value": (["epochs=[1"], "override 'epochs=.*is not valid YAML"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_overrides_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    overrides, words = BAD[name]
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(_file(tmp_path), overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset: [mnist\n", "not valid YAML"),
        ("- dataset\n", "not a YAML mapping"),
        ("", "not a YAML mapping"),
        ("!!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("eps: 0.5\nepochs: 3\n", "setting dataset: Field required"),
        (MINIMAL + "1: 2\n", "1"),
    ],
)
def test_bad_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(_file(tmp_path, text))


def test_unreadable_and_unknown_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        load_config(str(tmp_path / "absent.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_config(str(tmp_path / "binary.yaml"))
    with pytest.raises(ConfigError, match="no recipe 'fashion_mnits'; Did you mean 'fashion_mnist'"):
        load_config("fashion_mnits")


# -- estimates --------------------------------------------------------------------------------------


def _models(seed: int) -> list[CertifiableModel]:
    torch.manual_seed(seed)
    plain = LiResNet(input_shape=(1, 8, 8), num_classes=3, depth=2, width=4, dense_width=6)
    plus = LiResNetPP(input_shape=(2, 10, 10), num_classes=3, depth=3, width=4, dense_width=6, dense_depth=1)
    for model in (plain, plus):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return [plain, plus]


def _norm_by_svd(linear_map: EstimatedMap) -> float:
    """Of the explicit matrix, column by column from the operator's own forward less its bias."""
    operator = linear_map.operator.map_tensors(lambda value: value.detach().double())
    columns = torch.eye(math.prod(linear_map.input_shape), dtype=torch.float64).unflatten(1, linear_map.input_shape)
    shift = operator.apply(torch.zeros_like(columns[:1]))
    return float(torch.linalg.svdvals((operator.apply(columns) - shift).flatten(1))[0])


@pytest.mark.parametrize("seed", range(2))
def test_estimates_converge_to_the_product_of_norms_from_below(seed: int) -> None:
    for model in _models(seed):
        exact = math.prod(_norm_by_svd(linear_map) for linear_map in model.estimated_maps())
        state, last = EstimateState(), 0.0
        for _ in range(6):
            found = float(feature_lipschitz_estimate(model, state, steps=20).detach())
            assert last * (1 - 1e-6) <= found <= exact * (1 + 1e-5)
            last = found
        found = float(feature_lipschitz_estimate(model, state, steps=600).detach())
        assert found == pytest.approx(exact, rel=1e-3)


CONVS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((4, 3, 3, 3), {"padding": (1, 1, 1, 1)}),
    "stride": ((4, 3, 3, 3), {"stride": (2, 3), "padding": (1, 1, 1, 1)}),
    "dilation": ((4, 3, 3, 3), {"dilation": (2, 1), "padding": (2, 2, 1, 1)}),
    "groups": ((6, 2, 3, 3), {"groups": 2, "padding": (1, 1, 1, 1)}),
    "circular": ((4, 3, 3, 3), {"padding": (1, 1, 1, 1), "padding_mode": "circular"}),
    "rectangular": ((4, 3, 2, 5), {"padding": (0, 1, 2, 2)}),
    "all of it": ((4, 2, 2, 3), {"stride": (2, 1), "dilation": (1, 2), "groups": 2, "padding": (1, 0, 2, 2),
                                 "padding_mode": "circular"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVS)
def test_every_convolution_is_estimated_as_it_is(name: str, randn: Randn) -> None:
    """Three that differ in their weights alone, treated together, against the SVD of each explicit matrix."""
    shape, settings = CONVS[name]
    input_shape = (shape[1] * settings.get("groups", 1), 6, 7)
    weights = [randn(*shape, seed=seed).float() for seed in range(3)]
    maps = [EstimatedMap(Conv(weight, torch.ones(shape[0]), **settings), input_shape) for weight in weights]
    exact = [_norm_by_svd(linear_map) for linear_map in maps]
    model = _Maps(maps)
    state = EstimateState()
    found = float(feature_lipschitz_estimate(model, state, steps=3000))
    assert found == pytest.approx(math.prod(exact), rel=1e-3) and found <= math.prod(exact) * (1 + 1e-5)
    assert len(state.vectors) == 1
    for linear_map in maps:
        operator, x = linear_map.operator, randn(2, *input_shape).float()
        shift = operator.apply(torch.zeros_like(x))
        torch.testing.assert_close(operator.linear_part(x), operator.apply(x) - shift, rtol=1e-4, atol=1e-4)


class _Twice(Dense):
    """Somebody else's linear operator, without a batched form: x -> 2 W x."""

    def linear_part(self, x: Tensor) -> Tensor:
        return 2 * super().linear_part(x)

    def linear_parts(self, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return LinearOperator.linear_parts(self, tensors, x)


def test_an_operator_without_a_batched_form_is_estimated_one_by_one(randn: Randn) -> None:
    weights = [randn(5, 4, seed=seed).float() for seed in range(2)]
    exact = math.prod(2 * float(torch.linalg.matrix_norm(weight.double(), 2)) for weight in weights)
    model = _Maps([EstimatedMap(_Twice(weight), (4,)) for weight in weights])
    assert float(feature_lipschitz_estimate(model, EstimateState(), steps=1000)) == pytest.approx(exact, rel=1e-4)


class _Maps(LiResNet):
    """A model of which only the estimated maps matter."""

    def __init__(self, maps: Sequence[EstimatedMap]) -> None:
        super().__init__(input_shape=(1, 8, 8), num_classes=3, depth=1, width=4, dense_width=6)
        self.maps = tuple(maps)

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return self.maps


def test_estimates_change_the_state_and_nothing_else(randn: Randn) -> None:
    for model in _models(0):
        model.train()
        before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        state = EstimateState()
        first = feature_lipschitz_estimate(model, state)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), generator)
        assert all(parameter.grad is None for parameter in model.parameters())
        vectors = {key: value.clone() for key, value in state.state_dict().items()}
        restored = EstimateState()
        restored.load_state_dict(vectors)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again = feature_lipschitz_estimate(model.eval(), restored)
        assert torch.equal(again, feature_lipschitz_estimate(model, state))
        assert float(again.detach()) >= float(first.detach()) * (1 - 1e-6)


def test_the_gradient_is_that_of_the_singular_values() -> None:
    """At convergence d||A||/dA = u v^T, here by autograd through the SVD of the explicit map."""
    model = _models(1)[0]
    (linear,) = (linear_map.operator for linear_map in model.estimated_maps() if len(linear_map.input_shape) == 1)
    state = EstimateState()
    for _ in range(2):
        feature_lipschitz_estimate(model, state, steps=300)
    estimate = feature_lipschitz_estimate(model, state, steps=300)
    parameter = model.get_parameter("neck.linear.weight")
    (found,) = torch.autograd.grad(estimate, parameter, retain_graph=True)
    norm = torch.linalg.matrix_norm(parameter.double(), 2)
    others = float(estimate.detach()) / float(torch.linalg.matrix_norm(linear.tensors()["weight"].detach().double(), 2))
    (expected,) = torch.autograd.grad(norm * others, parameter)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    (stem,) = torch.autograd.grad(estimate, model.get_parameter("stem.conv.weight"))
    assert stem.any()


def test_label_rows_are_rows_of_the_whole_matrix() -> None:
    """Rows where the batch is smaller than the number of classes, the matrix otherwise: the losses take both."""
    model = _models(0)[0]
    whole = pair_lipschitz_estimate(model, EstimateState(), steps=300)
    two = label_lipschitz_estimate(model, EstimateState(), torch.tensor([2, 0]), steps=300)
    torch.testing.assert_close(two, whole[[2, 0]])
    many = label_lipschitz_estimate(model, EstimateState(), torch.tensor([2, 0, 1]), steps=300)
    assert many.shape == whole.shape == (3, 3)


def test_pair_estimate_is_the_feature_estimate_times_row_distances() -> None:
    model = _models(2)[1]
    state = EstimateState()
    feature_lipschitz_estimate(model, state, steps=500)
    pairs = pair_lipschitz_estimate(model, state, steps=500).detach()
    feature = float(feature_lipschitz_estimate(model, state).detach())
    rows = model.get_parameter("head.weight").detach().double()
    rows = rows / rows.square().sum(1, keepdim=True).sqrt()
    for i in range(3):
        for j in range(3):
            assert float(pairs[i, j]) == pytest.approx(feature * float((rows[i] - rows[j]).norm()), rel=1e-4, abs=1e-7)
