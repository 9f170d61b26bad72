"""Rows from reports, cards and bundles, with numbers calculated by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import lip_plugin as lp
from lip_plugin.certificates.program import PROGRAMS
from lip_plugin.leaderboard import Entry, entries_of_reports, entries_of_zoo
from lip_plugin.leaderboard.entry import Certificate, Origin, Proved
from lip_plugin.leaderboard.from_card import entries_from_card
from lip_plugin.leaderboard.methods import PROVED_ARITHMETIC, PROVED_BOUND, certificate_of_bound
from lip_plugin.schema import read_report
from lip_plugin.schema.figures import share_of_percent
from lip_plugin.zoo import ModelCard

Save = Callable[..., Path]
Evaluation = Callable[..., dict[str, Any]]
E = 36 / 255


def own(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.origin is not Origin.PUBLISHED]


@pytest.fixture
def card() -> ModelCard:
    return lp.model_card("LipPlugin2026_LiResNet_S")


def with_figures(card: ModelCard, **changed: Any) -> ModelCard:
    return ModelCard.model_validate({**card.model_dump(by_alias=True), **changed})


def test_a_report_gives_its_figures(document: dict[str, Any], save: Save) -> None:
    (entry,) = own(entries_of_reports([save(document)]))
    assert (entry.name, entry.dataset, entry.architecture) == ("net", "cifar10", "conv")
    assert (entry.params, entry.images, entry.clean) == (1_234_567, 10_000, 0.9)
    assert entry.proved == {E: Proved(0.85, (0.794, 0.8929)), 0.25: Proved(0.75, (0.6858, 0.8048))}
    assert entry.strongest_at(E) == ("autoattack", 0.875)
    assert (entry.gap_at(E), entry.gap_at(0.25), entry.gap_at(0.5)) == (0.025, 0.05, None)
    assert (entry.distance_over_radius, entry.found_over_proved) == (1.2345, 0.75)
    assert entry.skipped_certified is True
    assert (entry.certificate, entry.origin, entry.arithmetic) == (Certificate.CLAIMED, Origin.REPORT, "real")
    assert entry.cost is not None
    assert (entry.cost.certify_seconds, entry.cost.attack_forwards, entry.cost.device) == (1.5, 54321, "cpu")


def test_the_lowest_share_counts_whatever_the_attack_is_called(evaluation: Evaluation, save: Save) -> None:
    survived = ({"a": 0.88, "b": 0.86, "c": 0.87}, {"a": 0.8, "b": 0.8, "c": 0.8})
    (entry,) = own(entries_of_reports([save(evaluation(survived=survived))]))
    assert entry.strongest_at(E) == ("b", 0.86)


def test_a_failed_report_has_no_certificate(document: dict[str, Any], save: Save) -> None:
    document["status"] = "failed"
    document["eps"][1]["empirical_robust_accuracy"]["autoattack"] = 0.7  # below what is proved: that is the failure
    (entry,) = own(entries_of_reports([save(document)]))
    assert entry.certificate is Certificate.CONTRADICTED
    assert entry.gap_at(0.25) == pytest.approx(-0.05)


def test_what_is_not_known_to_be_a_proof_is_none(document: dict[str, Any], save: Save) -> None:
    assert certificate_of_bound(PROVED_BOUND, "bfloat16", verified=True) is Certificate.UNSTATED
    document["lipschitz"]["method"] = "power iteration"
    (entry,) = own(entries_of_reports([save(document, "estimated")]))
    assert entry.certificate is Certificate.UNSTATED


def test_the_words_for_proofs_are_those_of_certificates() -> None:
    layer = lp.wrap(nn.Flatten().eval(), nn.Linear(4, 2).eval(), input_shape=(1, 2, 2))
    assert lp.lipschitz_upper_bound(layer).method == PROVED_BOUND
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2)
    norm.running_var = torch.tensor([0.01, 4.0])
    scaled = nn.Sequential(nn.Conv2d(2, 2, 1), norm, nn.Flatten())
    together = lp.lipschitz_upper_bound(lp.wrap(scaled.eval(), nn.Linear(8, 2).eval(), input_shape=(2, 2, 2))).method
    assert together != PROVED_BOUND
    assert certificate_of_bound(together, "real") is Certificate.CLAIMED
    assert certificate_of_bound(together, "real", verified=True) is Certificate.SOUND
    assert set(PROGRAMS) == set(PROVED_ARITHMETIC)


def test_what_was_not_looked_for_is_missing(evaluation: Evaluation, save: Save) -> None:
    document = evaluation(survived=({}, {}))
    del document["lipschitz"]["lower_bound"]
    document["audit"]["smallest_distance_over_radius"] = None
    (entry,) = own(entries_of_reports([save(document)]))
    assert (entry.survived, entry.skipped_certified) == ({}, None)
    assert (entry.distance_over_radius, entry.found_over_proved, entry.strongest_at(E)) == (None, None, None)
    document["lipschitz"] |= {"upper_bound": 0.0, "lower_bound": 0.0}
    (entry,) = own(entries_of_reports([save(document, "constant")]))
    assert entry.found_over_proved is None


def test_the_zoo_gives_what_its_cards_measured(card: ModelCard) -> None:
    found = {entry.name: entry for entry in own(entries_of_zoo())}
    assert set(found) == set(lp.list_models())
    entry = found[card.name]
    assert entry.clean == 0.7411
    assert {eps: proved.share for eps, proved in entry.proved.items()} == {
        E: 0.5936,
        72 / 255: 0.4417,
        108 / 255: 0.2972,
    }
    assert (entry.certificate, entry.origin, entry.images) == (Certificate.CLAIMED, Origin.CARD, 10000)
    assert card.measured.bound == PROVED_BOUND


def test_a_card_may_report_figures_but_not_prove_them(card: ModelCard) -> None:
    reported = {
        "clean_accuracy": 81.6,
        "verified_robust_accuracy": {"36/255": 70.6},
        "certificate": "estimated",
        "source": "table 1",
    }
    measured, entry = entries_from_card(with_figures(card, reported=reported))
    assert measured.origin is Origin.CARD
    assert (entry.origin, entry.certificate, entry.source) == (Origin.PUBLISHED, Certificate.ESTIMATED, "table 1")
    assert (entry.clean, entry.proved[E].share, entry.link) == (0.816, 0.706, card.link)
    for claim in ("sound", "contradicted", "proved"):
        with pytest.raises(ValidationError, match=r"reported\.certificate"):
            with_figures(card, reported={**reported, "certificate": claim})
    hostile = with_figures(card, reported=reported, link="javascript:alert(1)")
    assert entries_from_card(hostile)[1].link == ""


def test_a_card_without_figures_gives_no_row(card: ModelCard) -> None:
    for nothing in ({}, {"clean_accuracy": None, "verified_robust_accuracy": None}, {"epochs": 3}):
        assert entries_from_card(with_figures(card, measured=nothing)) == []


def bundle(directory: Path, document: dict[str, Any], card: ModelCard) -> Path:
    for name in ("report", "model"):
        (directory / name).mkdir(parents=True)
    (directory / "report" / "report.json").write_text(json.dumps(document))
    (directory / "model" / "card.json").write_text(card.model_dump_json(by_alias=True))
    return directory


def test_a_bundle_is_one_measured_row_and_what_its_card_reports(
    document: dict[str, Any], tmp_path: Path, card: ModelCard
) -> None:
    document["model"]["digest"] = card.digest
    directory = bundle(tmp_path / "sub", document, with_figures(card, reported={"clean_accuracy": 74.0}))
    first, second, *published = entries_of_reports([directory])
    assert (first.name, first.origin) == ("net", Origin.BUNDLE)
    assert (second.name, second.origin, second.certificate) == (card.name, Origin.CARD, Certificate.UNSTATED)
    assert (first.whole, second.whole) == (True, False)
    assert {entry.dataset for entry in published} == {"cifar10"}
    document["model"]["digest"] = "0" * 64
    with pytest.raises(lp.CheckpointError, match=r"model\.digest"):
        entries_of_reports([bundle(tmp_path / "other", document, card)])


def test_folders_are_searched_and_no_report_counts_twice(document: dict[str, Any], save: Save, tmp_path: Path) -> None:
    for name in ("all/b", "all/a", "all/.lip-unfinished"):
        document["model"]["name"] = name[-1]
        save(document, name)
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / "link").symlink_to(tmp_path / "all" / "a")
    found = own(entries_of_reports([tmp_path / "all", tmp_path / "all" / "a", tmp_path / "all" / ".." / "all" / "b"]))
    assert sorted(entry.name for entry in found) == ["a", "b"]
    with pytest.raises(lp.ConfigError, match="holds no report"):
        entries_of_reports([tmp_path / "all" / "notes"])
    with pytest.raises(lp.ConfigError, match="not a directory"):
        entries_of_reports([tmp_path / "nowhere"])


def test_published_figures_come_for_the_data_sets_of_the_reports(document: dict[str, Any], save: Save) -> None:
    document["dataset"] |= {"name": "own images", "of": None, "of_classes": None}
    assert {entry.dataset for entry in entries_of_reports([save(document)])} == {"own images"}


@pytest.mark.parametrize(
    "told",
    [
        {"of": None, "in_order": False, "of_classes": None},
        {"of": 200, "n": 200},
        {"n": 10_001},
        {"name": "imagenet", "of": 50_000, "n": 50_000},  # no release can tell ImageNet's images
        {"name": "cifar11"},
    ],
)
def test_a_name_without_its_images_is_no_data_set(evaluation: Evaluation, save: Save, told: dict[str, Any]) -> None:
    document = evaluation(told.get("n", 10_000))
    document["dataset"] |= told
    (entry,) = entries_of_reports([save(document)])
    assert (entry.dataset, entry.whole) == ("own images", False)
    n = document["dataset"]["n"]
    assert (entry.shown_name, entry.which) == (f"net (n={n})", f"{n:,} own images (10 classes)")


@pytest.mark.parametrize(
    ("told", "which"),
    [
        ({"n": 24, "of": 300, "classes": 3, "of_classes": 10}, "24 of 300 own images, 3 of 10 classes"),
        ({"n": 24, "of": 24, "classes": 1, "of_classes": 10}, "all 24 own images, 1 of 10 classes"),
        ({"n": 24, "of": None, "classes": 3, "of_classes": 10}, "24 own images, 3 of 10 classes"),
        ({"n": 24, "of": None, "classes": 1, "of_classes": None}, "24 own images (1 class)"),
    ],
)
def test_own_images_are_counted_and_never_a_whole_split(
    evaluation: Evaluation, save: Save, told: dict[str, Any], which: str
) -> None:
    document = evaluation(24)
    document["dataset"] |= {"name": "own images", "split": "", **told}
    (entry,) = entries_of_reports([save(document)])
    assert (entry.dataset, entry.which, entry.whole) == ("own images", which, False)


def test_a_part_of_a_test_split_is_named_by_its_size(evaluation: Evaluation, save: Save) -> None:
    document = evaluation(32)
    document["dataset"] |= {"in_order": False, "classes": 9}
    (entry,) = own(entries_of_reports([save(document)]))
    assert (entry.dataset, entry.whole, entry.shown_name) == ("cifar10", False, "net (n=32)")
    assert entry.which == "32 of 10,000 images of cifar10 (test), sampled, 9 of 10 classes"


def test_pictures_of_another_size_do_not_reach_the_table_that_a_card_names(card: ModelCard) -> None:
    figures = {"clean_accuracy": 99.0, "verified_robust_accuracy": {"36/255": 98.0}, "images": 50_000}
    small = with_figures(card, dataset="imagenet", measured=figures, reported=figures)
    assert {entry.dataset for entry in entries_from_card(small)} == {"own images"}
    drawn = with_figures(card, measured={**card.measured.model_dump(), "dataset": "own images"})
    assert [(entry.dataset, entry.whole) for entry in entries_from_card(drawn)] == [("own images", False)]


def test_only_what_was_verified_in_the_call_is_sound(document: dict[str, Any], tmp_path: Path, card: ModelCard) -> None:
    document["model"]["digest"] = card.digest
    directory = bundle(tmp_path / "sub", document, card)
    for name, expected in (("sub", (Certificate.SOUND, Origin.VERIFIED)), ("", (Certificate.CLAIMED, Origin.BUNDLE))):
        entry = entries_of_reports([directory], lambda path, name=name: path.name == name)[0]
        assert (entry.certificate, entry.origin) == expected


def prove(result: dict[str, Any], certified: int) -> None:
    """With the count that belongs to the share."""
    result["verified_robust_accuracy"] = certified / 10_000
    result["counts"] |= {"certified": certified, "undecided": 9000 - certified - result["counts"]["broken"]}


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another schema": (lambda d: d.update(schema="lip-report/2"), "schema"),
    "share in percent": (lambda d: d.update(clean_accuracy=90.0), "clean_accuracy"),
    "share as text": (lambda d: d.update(clean_accuracy="0.9"), "clean_accuracy"),
    "share as a flag": (lambda d: d.update(clean_accuracy=True), "clean_accuracy"),
    "negative share": (lambda d: d["eps"][0].update(verified_robust_accuracy=-0.1), "eps/0/verified_robust_accuracy"),
    "more proved than right": (lambda d: prove(d["eps"][0], 9500), "counts"),
    "more proved at more": (lambda d: (prove(d["eps"][0], 7000), prove(d["eps"][1], 7500)), "exceeds"),
    "attack below the proof": (lambda d: d["eps"][1]["empirical_robust_accuracy"].update(autoattack=0.7), "autoattack"),
    "attack above clean": (lambda d: d["eps"][1]["empirical_robust_accuracy"].update(autoattack=0.99), "autoattack"),
    "radii out of order": (lambda d: d["eps"].reverse(), "ascending"),
    "radius twice": (lambda d: d["eps"].append(d["eps"][1]), "ascending"),
    "negative radius": (lambda d: d["eps"][0].update(eps=-1.0), "eps/0/eps"),
    "huge radius": (lambda d: d["eps"][1].update(eps=1e300), "eps/1/eps"),
    "no radius": (lambda d: d.update(eps=[]), "eps"),
    "thousand radii": (lambda d: d.update(eps=[{**d["eps"][0], "eps": n / 1e4} for n in range(1000)]), "eps"),
    "no images": (lambda d: d["dataset"].update(n=0), "dataset/n"),
    "negative cost": (lambda d: d["cost"].update(attack_seconds=-1.0), "cost/attack_seconds"),
    "name with a line break": (lambda d: d["model"].update(name="a\nb"), "model/name"),
    "name that turns the reading direction": (lambda d: d["model"].update(name="a\u202eb"), "control characters"),
    "empty name": (lambda d: d["model"].update(name=""), "model/name"),
    "endless name": (lambda d: d["model"].update(name="a" * 3000), "model/name"),
    "name as a list": (lambda d: d["dataset"].update(name=["cifar10"]), "dataset/name"),
    "status of its own": (lambda d: d.update(status="best"), "status"),
    "other threat model": (lambda d: d.update(threat_model="Linf"), "threat_model"),
    "model missing": (lambda d: d.pop("model"), "model"),
    "arithmetic of its own": (lambda d: d.update(arithmetic="bfloat16"), "arithmetic"),
    "one value more": (lambda d: d.update(more=1), "more"),
    "share that is not its count's": (lambda d: d.update(clean_accuracy=0.91), "/clean_accuracy: expected 9000 of"),
    "of so many classes of nothing": (lambda d: d["dataset"].update(of_classes=None), "/dataset/of_classes"),
    "own images of fewer": (
        lambda d: d["dataset"].update(name="own images", of=9_999),
        "/dataset/n: 10000 of 9999 images",
    ),
    "more classes than there are": (lambda d: d["dataset"].update(of_classes=9), "/dataset/classes: 10 of 9 classes"),
    "classes of a part of nothing": (lambda d: d["dataset"].update(of=None), "/dataset/of_classes"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_report_that_cannot_be_is_refused_in_one_line(
    document: dict[str, Any], save: Save, lip: Callable[..., Any], tmp_path: Path, change: str
) -> None:
    alter, word = REFUSED[change]
    alter(document)
    directory = save(document)
    done = lip("leaderboard", directory, "--out", tmp_path / "out")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert word in done.err
    with pytest.raises(lp.CheckpointError) as caught:
        read_report(directory / "report.json")  # as `lip verify` does
    assert str(caught.value) in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b'{"schema": "lip-report/1", "schema": "x"}', b'{"clean_accuracy": NaN}', b"\xff"],
)
def test_what_is_no_report_is_refused(tmp_path: Path, lip: Callable[..., Any], content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    done = lip("leaderboard", tmp_path, "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_a_report_that_leads_out_of_its_directory_is_refused(
    document: dict[str, Any], save: Save, tmp_path: Path, lip: Callable[..., Any]
) -> None:
    directory = tmp_path / "link"
    directory.mkdir()
    (directory / "report.json").symlink_to(save(document) / "report.json")
    assert lip("leaderboard", directory, "--out", tmp_path / "out").code == 2


def test_percent_becomes_the_nearest_share() -> None:
    for hundredths in range(0, 10001, 7):
        assert share_of_percent(hundredths / 100) == hundredths / 10000
    assert share_of_percent(math.nextafter(50.0, 51)) > 0.5
