"""What a foreign board would run is run on every image, by `lip submit` and by `lip verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.data import LabelledImages, load_npz
from lip_plugin.network import Flatten, Head, Offset
from lip_plugin.submission import evaluation
from lip_plugin.submission.robustbench import other_labels
from lip_plugin.verification import measured, verify_bundle


@pytest.fixture
def images(data_file: Path) -> LabelledImages:
    return load_npz(data_file)


def test_the_plain_form_labels_every_image_as_the_network_does(made: Any, images: LabelledImages) -> None:
    prediction = made.report.points.certificate.prediction
    assert other_labels(made.model, "tiny", images, prediction) == []
    moved = prediction.clone()
    moved[[3, 17]] = (moved[[3, 17]] + 1) % 4
    assert other_labels(made.model, "tiny", images, moved) == [3, 17]


def test_other_weights_are_noticed_image_by_image(made: Any, images: LabelledImages) -> None:
    head = made.model.head
    turned = lp.CertifiedClassifier([Flatten()], Head(head.weight.flip(0), head.bias.flip(0)), input_shape=(1, 4, 4))
    x = torch.cat([x for x, _ in images.blocks(24, torch.float32)])
    expected = (turned(x).argmax(1) != made.model(x).argmax(1)).nonzero().flatten().tolist()
    prediction = made.report.points.certificate.prediction
    assert other_labels(turned, "tiny", images, prediction) == expected != []


def test_a_submission_is_refused_where_the_plain_form_disagrees(made: Any, images: LabelledImages) -> None:
    """A shift by 2^30 and back: certificates are of another function than any float32 forward."""
    shift = [Offset(torch.tensor(sign * 2.0**30)) for sign in (1, -1)]
    model = lp.CertifiedClassifier([*shift, Flatten()], made.model.head, input_shape=(1, 4, 4))
    x = torch.cat([x for x, _ in images.blocks(24, torch.float32)])
    certificate = lp.certify(model, x)
    count = int(certificate.disagrees.sum())
    assert count > 0
    report = made.report.described()
    points = type(report.points)(**{**vars(report.points), "certificate": certificate})
    changed = type(report)(**{**vars(report), "points": points})
    with pytest.raises(lp.RefusedError, match=rf"labels {count} of 24 images otherwise than their certificates"):
        evaluation._require_same_in_plain_torch(made.card, model, images, changed)  # pyright: ignore[reportPrivateUsage]


def test_verify_says_where_it_disagrees(bundle: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count_given(card: Any, count: int) -> LabelledImages:
        return load_npz(data_file)

    found = verify_bundle(bundle, images=count_given)
    assert [one.verdict for one in found.checks if one.what == "labels of 24 images in plain torch"] == ["agrees"]
    monkeypatch.setattr(measured, "other_labels", lambda *arguments: [5])
    found = verify_bundle(bundle, images=count_given)
    assert [one.line() for one in found.failures] == [
        "robustbench/tiny.pt: labels of 24 images in plain torch: claimed as certified, measured 1 others"
    ]
