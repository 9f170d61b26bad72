"""Forms that people bring to every public entry point: taken, or one line that names what came and what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lip_plugin as lp

SHAPE = (3, 4, 4)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5)).eval()


NETWORK: Any = _network()
MODEL: Any = lp.wrap(NETWORK, input_shape=SHAPE)
X = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])
LOADER = DataLoader(TensorDataset(X, Y), batch_size=2)


class Image:
    """Named as PIL's, which need not be installed."""


def _compare(model: Any, x: Any, y: Any) -> Any:
    return lp.compare(model, x, y, eps=0.1, audit=0)


ON_IMAGES: dict[str, Callable[[Any], Any]] = {
    "certify": lambda x: lp.certify(MODEL, x),
    "predict": lambda x: lp.predict(MODEL, x, eps=0.1),
    "compare": lambda x: _compare(MODEL, x, Y),
    "audit": lambda x: lp.audit_lipschitz(MODEL, x),
}
IMAGES: dict[str, tuple[Any, str, str]] = {
    "channels last": (X.permute(0, 2, 3, 1), "(4, 4, 4, 3)", "x.permute(0, 3, 1, 2)"),
    "0 to 255": (X * 255, "pixels span [", "divide bytes by 255"),
    "normalised": ((X - 0.5) / 0.25, "pixels span [-", "normalisation, which belongs inside the network"),
    "not a number": (X * float("nan"), "[nan, nan]", "finite values in [0,1]"),
    "bytes": ((X * 255).byte(), "torch.uint8", "divide uint8 by 255"),
    "whole numbers": ((X * 255).long(), "torch.int64", "floating pixels in [0,1]"),
    "complex": (X + 0j, "torch.complex64", "floating pixels in [0,1]"),
    "array": (X.numpy(), "ndarray", "torch.from_numpy"),
    "loader": (LOADER, "DataLoader", "its batches one by one"),
    "data set": (LOADER.dataset, "TensorDataset", "give its tensors"),
    "picture": (Image(), "Image", "to_tensor"),
    "list": (list(X), "list", "torch.stack"),
    "pair": ((X, Y), "tuple", "images and labels apart"),
    "dictionary": ({"image": X}, "dict", "the tensor in it"),
    "path": ("images.npz", "str", "read the file first"),
    "nothing": (None, "NoneType", "a dense torch tensor"),
    "one image": (X[0], "(3, 4, 4)", "x[None]"),
    "vectors": (X.flatten(1), "(4, 48)", "x.reshape(-1, 3, 4, 4)"),
    "longer vectors": (torch.rand(4, 500), "(4, 500)", "(B, 3, 4, 4)"),
    "grey": (X[:, :1], "(4, 1, 4, 4)", "(B, 3, 4, 4)"),
    "sparse": (X.to_sparse(), "sparse", "a dense torch tensor"),
    "without numbers": (X.to("meta"), "meta device", "a dense torch tensor"),
}


TAKEN = {("certify", "loader"), ("predict", "loader")}


def _one_line(call: Callable[[], Any], came: str, way: str) -> None:
    with pytest.raises(lp.LipPluginError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert came in message
    assert way in message


@pytest.mark.parametrize(
    ("entry", "name"),
    [(entry, name) for entry in ON_IMAGES for name in IMAGES if (entry, name) not in TAKEN],
)
def test_images(entry: str, name: str) -> None:
    given, came, way = IMAGES[name]
    _one_line(lambda: ON_IMAGES[entry](given), came, way)


def test_a_loader_is_taken_where_images_alone_are_asked_for() -> None:
    assert torch.equal(lp.certify(MODEL, LOADER).prediction, NETWORK(X).argmax(1))
    assert torch.equal(lp.predict(MODEL, LOADER, eps=0.0).radius, lp.predict(MODEL, X, eps=0.0, batch_size=2).radius)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_other_precisions_are_taken_as_the_pixels_they_hold(dtype: torch.dtype) -> None:
    given = X.to(dtype)
    assert torch.equal(lp.certify(MODEL, given).prediction, NETWORK(given.float()).argmax(1))


@pytest.mark.parametrize("entry", ["certify", "predict"])
def test_no_images_have_no_certificates(entry: str) -> None:
    assert len(ON_IMAGES[entry](X[:0]).radius) == 0


LABELS: dict[str, tuple[Any, str, str]] = {
    "one-hot": (torch.eye(5)[Y], "torch.float32 of shape (4, 5)", "y.argmax(1)"),
    "one-hot integers": (torch.eye(5).long()[Y], "(4, 5)", "y.argmax(1)"),
    "floats": (Y.float(), "torch.float32", "integers of shape (4,)"),
    "a column": (Y[:, None], "(4, 1)", "integers of shape (4,)"),
    "too few": (Y[:3], "(3,)", "integers of shape (4,)"),
    "from one": (Y + 2, "[2, 5]", "classes 0 to 4"),
    "array": (Y.numpy(), "ndarray", "torch.from_numpy"),
    "list": (Y.tolist(), "list", "torch.tensor"),
    "nothing": (None, "NoneType", "integers (4,)"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str) -> None:
    given, came, way = LABELS[name]
    _one_line(lambda: _compare(MODEL, X, given), came, way)


ON_MODELS: dict[str, Callable[[Any], Any]] = {
    "certify": lambda model: lp.certify(model, X),
    "predict": lambda model: lp.predict(model, X, eps=0.1),
    "compare": lambda model: _compare(model, X, Y),
    "audit": lambda model: lp.audit_lipschitz(model, X),
    "wrap": lambda model: lp.wrap(model, input_shape=SHAPE),
    "wrap's head": lambda model: lp.wrap(NETWORK[:3], model, input_shape=SHAPE),
    "bound": lambda model: lp.lipschitz_upper_bound(model, input_shape=SHAPE),
    "freeze": lp.freeze,
    "load": lp.load_model,
}
FROZEN_ONLY, MODULES = ("certify", "predict", "compare", "audit"), ("wrap", "wrap's head", "bound")
MODELS: list[tuple[tuple[str, ...], Any, str, str]] = [
    (FROZEN_ONLY, NETWORK, "Sequential", "lp.freeze or lp.wrap"),
    (FROZEN_ONLY, NETWORK.state_dict(), "OrderedDict", "load_state_dict"),
    (FROZEN_ONLY, "model.pt", "str", "lp.load_model"),
    (FROZEN_ONLY, None, "NoneType", "lp.wrap"),
    (FROZEN_ONLY, nn.Linear, "type", "lp.wrap"),
    (MODULES, NETWORK.state_dict(), "OrderedDict", "load_state_dict"),
    (MODULES, "model.pt", "str", "lp.load_model"),
    (MODULES, nn.Linear, "type", "make an instance"),
    (MODULES, lambda x: x, "function", "torch.nn.Module"),  # pyright: ignore[reportUnknownLambdaType]
    (("wrap",), None, "NoneType", "torch.nn.Module"),
    (("wrap",), nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), "training mode", ".eval()"),
    (("freeze",), NETWORK, "Sequential", "lp.wrap"),
    (("freeze",), NETWORK.state_dict(), "OrderedDict", "lp.wrap"),
    (("load",), NETWORK, "Sequential", "lp.wrap"),
    (("load",), "model.pt", "model.pt", "Known: "),
]


@pytest.mark.parametrize(
    ("entry", "given", "came", "way"),
    [(entry, *row) for entries, *row in MODELS for entry in entries],
    ids=[f"{entry} of {came}" for entries, _, came, _ in MODELS for entry in entries],
)
def test_models(entry: str, given: Any, came: str, way: str) -> None:
    _one_line(lambda: ON_MODELS[entry](given), came, way)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_of_half_precision(dtype: torch.dtype) -> None:
    """Refused: proofs are of float32 and float64 networks."""
    half = copy.deepcopy(NETWORK).to(dtype)
    _one_line(lambda: lp.wrap(half, input_shape=SHAPE), str(dtype), "float32")


SHAPES: list[tuple[Any, str, str]] = [
    (3, "got 3", "(C, H, W)"),
    ("3x4x4", "'3x4x4'", "(C, H, W)"),
    (X, "tensor(", "(C, H, W)"),
    ((3, 4, 0), "(3, 4, 0)", "positive"),
    ((4, 4, 3), "(4, 4, 3)", "3 channels"),
    ((1, 3, 4, 4), "(1, 3, 4, 4)", "(C, H, W)"),
]


@pytest.mark.parametrize(("given", "came", "way"), SHAPES, ids=range(len(SHAPES)))
def test_input_shapes(given: Any, came: str, way: str) -> None:
    _one_line(lambda: lp.wrap(NETWORK, input_shape=given), came, way)
    _one_line(lambda: lp.lipschitz_upper_bound(NETWORK, input_shape=given), came, way)


@pytest.mark.parametrize("shape", [(500,), (20, 25), torch.Size([500])])
def test_vectors_and_rows_are_taken_as_images(shape: Any) -> None:
    """One layer, whose radius is known: the gap over the distance of its rows."""
    torch.manual_seed(0)
    layer = nn.Linear(500, 2).eval()
    module = layer if len(shape) == 1 else nn.Sequential(nn.Flatten(), layer).eval()
    model = lp.wrap(module, input_shape=shape)
    assert model.input_shape == (shape[0], 1, *shape[1:], 1)[:3]
    x = torch.rand(4, 500)
    logits = x.double() @ layer.weight.detach().double().T + layer.bias.detach().double()
    weight = layer.weight.detach().double()
    exact = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).norm()
    proof = lp.certify(model, x.view(4, *model.input_shape))
    assert torch.equal(proof.prediction, logits.argmax(1))
    assert (proof.radius <= exact).all()
    assert (proof.radius >= exact * (1 - 1e-6)).all()
    _one_line(lambda: lp.certify(model, x), "(4, 500)", f"x.reshape(-1, {', '.join(map(str, model.input_shape))})")


def test_shapes_that_are_none_are_told_the_way() -> None:
    _one_line(lambda: lp.wrap(NETWORK, input_shape=(2, *SHAPE)), "(2, 3, 4, 4)", "leave out the batch: (3, 4, 4)")  # type: ignore[arg-type]
    _one_line(lambda: lp.wrap(NETWORK, input_shape=20), "got 20", "for vectors give (20,)")  # type: ignore[arg-type]


def test_shapes_of_arrays_are_taken_where_they_are_integers() -> None:
    shape: Any = np.array(SHAPE)
    expected = lp.lipschitz_upper_bound(NETWORK, input_shape=SHAPE).value
    assert lp.lipschitz_upper_bound(NETWORK, input_shape=shape).value == expected
