"""The stage log of a report: it adds up to the counts and the cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lip_plugin.report import report_document


def test_stages_add_up_to_counts_and_forwards(made: Any) -> None:
    report = made.report
    assert [stage.attack for stage in report.stages] == ["step-0.5"] * 3 + ["step-1"] * 3
    assert sum(stage.forwards for stage in report.stages) == report.cost.attack_forwards > 0
    standing = 0
    for result in report.eps:
        first, second = (stage for stage in report.stages if stage.eps == result.eps)
        assert first.broken + second.broken == result.counts["broken"]
        assert second.images == first.images - first.broken  # the second attacks what the first left standing
        assert first.images - first.broken - second.broken == result.counts["undecided"]
        assert [first.forwards, second.forwards] == [first.images, second.images]  # one forward of each image
        standing += second.images
    assert report.eps[-1].counts["broken"] > 5 and standing > 0


def test_the_audit_is_logged_under_its_own_name(make: Any) -> None:
    report = make(audit=2, eps=(0.02,)).report
    audits = [stage for stage in report.stages if stage.attack.startswith("audit ")]
    assert [stage.attack for stage in audits] == ["audit autoattack:apgd-ce", "audit autoattack:apgd-t"]
    assert [(stage.images, stage.broken) for stage in audits] == [(2, 0), (2, 0)]
    assert report.audit.attacked_certified == 2


def test_the_full_protocol_logs_one_run(make: Any) -> None:
    report = make(skip_certified=False).report
    first = report.stages[0]
    assert first.images == sum(name != "wrong" for name in report.points.status[report.eps[0].eps])
    assert sum(stage.forwards for stage in report.stages) == report.cost.attack_forwards


def test_the_log_is_in_the_document(made: Any) -> None:
    document = json.loads(json.dumps(report_document(made.report)))
    assert len(document["stages"]) == 6
    assert document["stages"][0] == {**vars(made.report.stages[0])}


@pytest.mark.parametrize("pictures", [0, 3, None])
def test_as_many_pictures_are_kept_as_asked_for(model_dir: Any, data_file: Any, pictures: int | None) -> None:
    import lip_plugin as lp
    from lip_plugin.data import load_npz
    from lip_plugin.evaluate import Request, evaluate_images

    model, images = lp.load_model(model_dir), load_npz(data_file)
    report = evaluate_images(model, images, Request.of(0.5, ["autoattack:fab-t"], audit=0, pictures=pictures))
    broken = report.points.distance.isfinite().nonzero().squeeze(1).tolist()
    assert len(broken) > 5
    assert [picture.index for picture in report.adversarial] == broken[:pictures]
