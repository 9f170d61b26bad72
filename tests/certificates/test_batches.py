"""What users hold: batches of a loader, a radius to compare with, and values that print in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lip_plugin as lp
from lip_plugin.network import Dense, Flatten, Head


@pytest.fixture(scope="module")
def model() -> lp.CertifiedClassifier:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 12, generator=generator)
    head = torch.randn(4, 5, generator=generator)
    return lp.CertifiedClassifier([Flatten(), Dense(weight, None)], Head(head, None), input_shape=(3, 2, 2))


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(23, 3, 2, 2, generator=torch.Generator().manual_seed(4))


def test_batches_of_a_loader_are_the_images_in_its_order(model: lp.CertifiedClassifier, x: torch.Tensor) -> None:
    whole = lp.certify(model, x)
    labels = torch.zeros(len(x), dtype=torch.long)
    for batches in (
        DataLoader(TensorDataset(x, labels), batch_size=7),
        DataLoader(TensorDataset(x), batch_size=23),
        iter(x.split(5)),
        ((block, None) for block in x.split(4)),
    ):
        found = lp.certify(model, batches)  # pyright: ignore[reportArgumentType]
        assert torch.allclose(found.radius, whole.radius, rtol=1e-12, atol=0)  # sums of other sizes
        assert torch.equal(found.prediction, whole.prediction)


def test_loaders_whose_radii_nobody_could_place_are_refused(model: lp.CertifiedClassifier, x: torch.Tensor) -> None:
    with pytest.raises(lp.ConfigError, match="shuffle=False"):
        lp.certify(model, DataLoader(TensorDataset(x), batch_size=7, shuffle=True))
    with pytest.raises(lp.ConfigError, match="batch_size is for one tensor"):
        lp.certify(model, iter(x.split(5)), batch_size=3)
    with pytest.raises(lp.DataError, match="pixels span"):
        lp.certify(model, iter([x, x + 1]))
    with pytest.raises(lp.DataError, match="a batch is empty"):
        lp.certify(model, iter([()]))
    for other in (x.numpy(), [x], "x"):
        with pytest.raises(lp.DataError, match="images are a"):
            lp.certify(model, other)  # pyright: ignore[reportArgumentType]


def test_a_radius_certifies_what_is_strictly_below_it(model: lp.CertifiedClassifier, x: torch.Tensor) -> None:
    certificate = lp.certify(model, x)
    tie = float(certificate.radius.median())
    assert certificate.certified(tie).tolist() == [radius > tie for radius in certificate.radius.tolist()]
    assert not bool(certificate.certified(tie)[certificate.radius == tie].any())
    assert torch.equal(certificate.certified("36/255"), certificate.certified(36 / 255))
    with pytest.raises(lp.ConfigError, match="at least 0"):
        certificate.certified(-1)


def test_values_print_in_one_line(model: lp.CertifiedClassifier, x: torch.Tensor) -> None:
    certificate = lp.certify(model, x)
    shown = repr(certificate)
    assert shown.count("\n") == 0
    assert "23 images" in shown
    assert certificate.digest[:12] in shown
    largest = float(shown.partition(" at most")[0].rpartition(" ")[2])
    assert 0 <= float(certificate.radius.max()) - largest < 1e-4, "rounded down"
    prediction = lp.predict(model, x, eps=float(certificate.radius.median()))
    abstained = int((prediction.label == lp.ABSTAIN).sum())
    assert f"23 labels, {abstained} of them ABSTAIN" in repr(prediction)
    assert repr(model) == (
        "CertifiedClassifier(unnamed: (3, 2, 2) -> 4 classes, 80 parameters in float32: 1 flatten, 1 dense, 1 head)"
    )
    assert repr(lp.certify(model, x[:0])).startswith("Certificate(0 images; arithmetic real")


def test_a_loaded_model_has_its_cards_name_and_the_same_digest(model: lp.CertifiedClassifier, tmp_path: object) -> None:
    directory = f"{tmp_path}/mine"
    model.save(directory)
    loaded = lp.load_model(directory)
    assert (loaded.name, loaded.copied().name, model.name) == ("mine", "mine", "unnamed")
    assert loaded.digest == model.digest


def test_a_wrapped_model_has_the_name_that_it_was_given() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    named, plain = lp.wrap(module, input_shape=(1, 2, 2), name="Mine"), lp.wrap(module, input_shape=(1, 2, 2))
    assert (named.name, plain.name, named.digest) == ("Mine", "unnamed", plain.digest)
    report = lp.compare(named, torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), eps=0.1, attacks=())
    assert report.model.name == "Mine" and str(report).startswith("Mine (15 parameters)")


def test_a_prepared_network_is_that_of_the_weights_as_they_are() -> None:
    """Certificates of one network are prepared once; another weight, arithmetic or bound is another one."""
    torch.manual_seed(0)
    model = lp.wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval(), input_shape=(1, 4, 4))
    x = torch.rand(6, 1, 4, 4)
    first, again = lp.certify(model, x), lp.certify(model, x)
    assert torch.equal(first.radius, again.radius) and first.digest == again.digest
    assert bool((lp.certify(model, x, arithmetic="forward").radius <= first.radius).all())
    model.head_weight.numpy()[:] *= -2  # past every counter of torch
    changed = lp.certify(model, x)
    fresh = lp.certify(model.copied(), x)
    assert changed.digest == model.digest != first.digest
    assert torch.equal(changed.prediction, fresh.prediction) and torch.equal(changed.radius, fresh.radius)
    assert not torch.equal(changed.prediction, first.prediction)
