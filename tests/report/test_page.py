"""The page as text: its numbers, what it loads (nothing), and what a stranger's names can do in it (nothing)."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.report import html, report_document, write_report

pytest.importorskip("matplotlib", reason="needs the extra report")
from PIL import Image

from lip_plugin.report.page.gallery import gallery_rows, may_be_shown
from lip_plugin.report.page.reproduce import python_call
from lip_plugin.schema.report import DataManifest


def test_every_number_is_the_one_in_report_json(report: lp.Report, page: str, elements: Any, shown_as: Any) -> None:
    found, document = elements(page), report_document(report)
    assert [entry for entry in found.fields if not shown_as(document, *entry)] == []
    pointers = {pointer for pointer, _, _ in found.fields}
    assert {
        "/clean_accuracy",
        "/statistics/clean_interval95/0",
        "/statistics/average_certified_radius",
        "/statistics/eps/0/linf_eps",
        "/statistics/eps/0/empirical_interval95/autoattack/1",
        "/statistics/classes/2/verified_robust_accuracy/0",
        "/eps/0/verified_robust_accuracy",
        "/eps/0/vra_interval95/1",
        "/eps/0/empirical_robust_accuracy/autoattack",
        "/eps/0/counts/undecided",
        "/audit/smallest_distance_over_radius",
        "/lipschitz/layers/1/upper_bound",
        "/cost/attack_forwards",
        "/model/digest",
        "/environment/torch",
    } <= pointers


def test_it_holds_report_json_as_a_whole(
    report: lp.Report, page: str, hostile_report: lp.Report, hostile_page: str, elements: Any
) -> None:
    assert json.loads(elements(page).script) == report_document(report)
    assert json.loads(elements(hostile_page).script) == report_document(hostile_report)


def test_it_says_what_is_proved_and_what_was_skipped(report: lp.Report, page: str) -> None:
    assert "lower bound of the true robust accuracy" in page
    assert "<strong>not attacked</strong>" in page
    full = html(dataclasses.replace(report, skipped_certified=False))
    assert "not attacked" not in full
    assert "Every correct image was attacked" in full
    proofs = html(dataclasses.replace(report, attacks=(), differences=()))
    assert "Proofs only." in proofs
    assert "survives" not in proofs.split("Results</h2>")[1].split("<tbody>")[0]


def test_it_loads_nothing(page: str, hostile_page: str, elements: Any) -> None:
    for one in (page, hostile_page):
        for tag, attributes in elements(one).all:
            for name in {"src", "href", "srcset", "data", "action", "poster", "background"} & set(attributes):
                assert attributes[name].startswith(("data:image/png;base64,", "data:,", "#")), (tag, attributes)
            assert "url(" not in attributes.get("style", "").replace("url(#", "")
        assert [attributes["type"] for tag, attributes in elements(one).all if tag == "script"] == ["application/json"]
        assert "@import" not in one
    assert "http" not in page.replace("http-equiv", "")


def test_pictures_have_words(page: str, elements: Any) -> None:
    found = elements(page).all
    drawings = [attributes for tag, attributes in found if tag == "svg"]
    assert len(drawings) == 3
    assert all(one["role"] == "img" and len(one["aria-label"]) > 40 for one in drawings)
    pictures = [attributes for tag, attributes in found if tag == "img"]
    assert len({one["alt"] for one in pictures}) == len(pictures) == 3


def test_ids_occur_once(page: str, elements: Any) -> None:
    found = elements(page).all
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert sorted(set(ids)) == sorted(ids)
    targets = {attributes["href"][1:] for _, attributes in found if attributes.get("href", "").startswith("#")}
    assert targets <= set(ids)


def test_plots_take_the_colours_of_the_page(page: str) -> None:
    drawn = page.split("<svg")[1:]
    assert all("var(--ink)" in one for one in drawn)
    assert [re.findall("#[0-9a-fA-F]{6}", one.split("</svg>")[0]) for one in drawn] == [[]] * 3


def test_a_strangers_names_stay_text(
    hostile_report: lp.Report, hostile_page: str, elements: Any, shown_as: Any
) -> None:
    found = elements(hostile_page)
    assert "\u202e" not in re.sub('data-field="[^"]*"', "", hostile_page)
    assert [attributes for _, attributes in found.all if any(name.startswith("on") for name in attributes)] == []
    assert [attributes for tag, attributes in found.all if tag == "img" and attributes["src"] == "x"] == []
    document = report_document(hostile_report)
    assert [entry for entry in found.fields if not shown_as(document, *entry)] == []


def test_images_are_shown_where_their_terms_allow_it_or_where_asked(
    report: lp.Report, page: str, elements: Any
) -> None:
    for name, expected in {"fashion_mnist": True, "imagenet": False, "tiny_imagenet": False, "my own": False}.items():
        named = report.described(dataset=DatasetSummary(name, "test", 4, "by hand"))
        assert may_be_shown(named) is expected
    assert sum(tag == "img" for tag, _ in elements(page).all) == 3
    withheld = html(report)
    assert sum(tag == "img" for tag, _ in elements(withheld).all) == 0
    assert "1 images have their adversarial version at hand" in withheld


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_are_those_of_the_tensors(report: lp.Report, channels: int) -> None:
    pair = torch.rand(2, channels, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    picture = dataclasses.replace(report.adversarial[0], image=pair[0], adversarial=pair[1])
    (row,) = gallery_rows(dataclasses.replace(report, adversarial=(picture,)))
    assert (row.index, row.label, row.attack, row.distance) == (2, 2, "autoattack:fab-t", 0.125)
    shift = row.amplified * (pair[1] - pair[0])
    assert float(shift.abs().max()) == pytest.approx(0.5, rel=1e-6)
    for address, pixels in ((row.image, pair[0]), (row.adversarial, pair[1]), (row.difference, 0.5 + shift)):
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as png:
            levels = torch.from_numpy(np.array(png)).double()
        expected = 255 * (pixels.permute(1, 2, 0) if channels == 3 else pixels.mean(0))
        assert float((levels - expected).abs().max()) <= 0.5 + 1e-4


@pytest.mark.parametrize(("dataset", "expected"), [("fashion_mnist", "Pullover"), ("tiny_imagenet", ""), ("toys", "")])
def test_classes_have_the_names_of_the_data_set(report: lp.Report, dataset: str, expected: str) -> None:
    named = report.described(dataset=DatasetSummary(dataset, "test", 4, "by hand"))
    assert [row.class_name for row in gallery_rows(named)] == [expected]
    assert ("class 2 (Pullover):" in html(named, gallery=True)) == bool(expected)


def test_classes_have_the_names_of_their_folders(report: lp.Report, elements: Any) -> None:
    data = DataManifest(4, {}, ("cat", "dog", "n01440764 tench"), "classes.txt")
    named = dataclasses.replace(report, data=data)
    assert [row.class_name for row in gallery_rows(named)] == ["n01440764 tench"]
    shown = [words for pointer, _, words in elements(html(named)).fields if pointer.startswith("/data/classes/")]
    assert shown == ["cat", "dog", "n01440764 tench"]  # the table, class by class


def test_how_to_reproduce_is_a_program_whatever_the_names_are(report: lp.Report, hostile_report: lp.Report) -> None:
    program = python_call(report)
    for fragment in ("load_model('net')", "eps=('36/255',)", "attacks=('autoattack',)", "audit=2", "seed=0", "256"):
        assert fragment in program
    for one in (report, hostile_report):
        compile(python_call(one), "page", "exec")
    assert len(python_call(hostile_report).splitlines()) == len(program.splitlines())


def test_the_same_report_gives_the_same_page(report: lp.Report, page: str) -> None:
    assert html(report, gallery=True) == page


def test_a_notebook_shows_the_page_in_a_frame(report: lp.Report, elements: Any) -> None:
    frame = report._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert frame is not None
    ((tag, attributes),) = elements(frame).all
    assert (tag, attributes["title"], attributes["sandbox"]) == ("iframe", "robustness report", "")
    assert attributes["srcdoc"] == html(report)


def test_without_the_extra_there_is_a_report_but_no_page(
    report: lp.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("lip_plugin.report.page", "lip_plugin.report.plots"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    remark = write_report(report, tmp_path / "out")
    assert remark is not None
    assert "pip install 'lip-plugin[report]'" in remark
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["points.csv", "report.json", "report.md"]
    with pytest.raises(lp.MissingDependencyError, match="matplotlib cannot be imported"):
        report.plot()
    assert report._repr_html_() is None  # pyright: ignore[reportPrivateUsage]


def test_with_it_the_page_lies_beside_the_document(report: lp.Report, tmp_path: Path) -> None:
    assert write_report(report, tmp_path / "out") is None
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == html(report)
    assert write_report(report, tmp_path / "out", overwrite=True, gallery=True) is None
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
