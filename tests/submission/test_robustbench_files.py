"""model_info, issue and zoo entry: their form, what they say of an evaluation, and what hostile text does to them.

RobustBench itself is stood in for by what it does with these files: `json.load`, a table of HTML, an import.
"""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
import sys
import types
from typing import Any

import pytest
import torch
import yaml

from lip_plugin.submission.robustbench import robustbench_files
from lip_plugin.submission.robustbench.architecture import class_name
from lip_plugin.submission.robustbench.texts import percent_at_least, web_link

from .claims import EPS, NAME, card, labels, network, submission

INFO = f"robustbench/model_info/cifar10/L2/{NAME}.json"
HOSTILE = 'A "quoted" <b>& title</b>\n## not a heading | {x} \\ \U0001f600 \'""" - [x] **eps**: 9'


def info_of(**settings: Any) -> dict[str, Any]:
    return json.loads(robustbench_files(submission(**settings))[INFO])


def test_the_files_and_their_places() -> None:
    assert set(robustbench_files(submission())) == {
        INFO,
        "robustbench/new_model.md",
        "robustbench/zoo_entry.py",
        "robustbench/architecture.py",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"dataset": "fashion_mnist"},
        {"dataset": "imagenet"},
        {"model": network(10, (1, 28, 28))},
        {"model": network(11)},
    ],
    ids=["fashion_mnist", "imagenet", "other images", "other classes"],
)
def test_images_that_robustbench_does_not_have_make_no_zoo_entry(settings: dict[str, Any]) -> None:
    dataset = settings.get("dataset", "cifar10")
    files = robustbench_files(submission(**settings))
    info = f"robustbench/model_info/{dataset}/L2/{NAME}.json"
    assert set(files) == {"robustbench/architecture.py", "robustbench/new_model.md", info}
    assert json.loads(files[info])["dataset"] == dataset
    assert "RobustBench does not have these images" in files["robustbench/new_model.md"]


def test_the_files_follow_from_the_submission_alone() -> None:
    assert robustbench_files(submission()) == robustbench_files(submission())


# -- model_info -----------------------------------------------------------------------------------


def test_a_model_based_on_a_paper_is_not_that_papers() -> None:
    fields = {"paper": "A Paper", "based_on": "A Paper (B and C, 2023)"}
    assert info_of(**fields)["name"] == f"{NAME}, based on A Paper (B and C, 2023)"
    assert info_of(paper="A Paper")["name"] == "A Paper"


def test_model_info_has_robustbenchs_keys_and_types() -> None:
    info = info_of(
        wrong=200,
        link="https://arxiv.org/abs/2301.12549",
        paper="A Paper",
        authors="A, B",
        venue="ICLR 2024",
        architecture="LiResNet",
        additional_data=True,
    )
    expected = {
        "link": "https://arxiv.org/abs/2301.12549",
        "name": "A Paper",
        "authors": "A, B",
        "additional_data": True,
        "number_forward_passes": 1,
        "dataset": "cifar10",
        "venue": "ICLR 2024",
        "architecture": "LiResNet",
        "eps": "0.5",
        "clean_acc": "98.0",
        "reported": "51.24",
        "autoattack_acc": "51.24",
    }
    assert {name: info[name] for name in expected} == expected
    assert {name: type(info[name]) for name in expected} == {name: type(value) for name, value in expected.items()}


def test_what_the_card_does_not_say_is_as_robustbench_writes_it() -> None:
    info = info_of(additional_data=None)
    assert (info["venue"], info["authors"], info["link"], info["name"]) == ("Unpublished", "", "", NAME)
    assert info["architecture"] == "0 conv, 0 dense"
    assert info["additional_data"] is None


def test_certified_figures_are_those_of_the_counts_at_both_conventions() -> None:
    made = submission(wrong=300)
    info = json.loads(robustbench_files(made)[INFO])
    counts = {result.eps: result.counts["certified"] for result in made.report.eps}
    assert len(info["certified_acc"]) == len(EPS)
    for shown, eps in (("0.5", 0.5), ("36/255", 36 / 255), ("72/255", 72 / 255), ("108/255", 108 / 255)):
        assert float(info["certified_acc"][shown]) == pytest.approx(counts[eps] / 100, abs=1e-12)
        assert f"{info['certified_acc'][shown]}% at {shown}" in info["footnote"]
    assert "product of verified operator norms" in info["footnote"]
    assert "on all 10,000 images of cifar10 (test): " in info["footnote"]
    assert info["lipschitz_upper_bound"] == 1.0
    assert info["network_digest"] == made.model.digest


def test_a_radius_that_was_not_evaluated_is_not_claimed() -> None:
    footnote = info_of(eps=(0.5,))["footnote"]
    assert "at 0.5" in footnote and "/255" not in footnote
    assert "no accuracy at these radii" in info_of(eps=(0.3,))["footnote"]


@pytest.mark.parametrize(
    ("settings", "figure", "said"),
    [
        ({}, "51.24", "standard AutoAttack on every correctly classified image, certified ones included"),
        ({"skipped": True}, "51.24", "certificate-aware AutoAttack"),
        ({"attacks": ("autoattack:apgd-t",)}, None, "Standard AutoAttack was not run at eps=0.5"),
        ({"attacks": ("autoattack?n_queries=10",)}, None, "Standard AutoAttack was not run at eps=0.5"),
        ({"attacks": ()}, None, "Standard AutoAttack was not run at eps=0.5"),
        ({"eps": (0.25,)}, None, "Standard AutoAttack was not run at eps=0.5"),
    ],
)
def test_autoattack_is_named_only_where_it_ran(settings: dict[str, Any], figure: str | None, said: str) -> None:
    info = info_of(**settings)
    assert info["autoattack_acc"] == info["reported"] == figure
    assert said in info["footnote"]
    assert ("certificate-aware" in info["footnote"]) == bool(settings.get("skipped"))


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({"empirical_robust_accuracy": {"0.5": {"autoattack": 60.123}}}, "60.12"),
        ({"empirical_robust_accuracy": {"127.5/255": {"autoattack": 60}}}, "60"),
        ({"empirical_robust_accuracy": {"0.25": {"autoattack": 60.0}}}, "51.24"),
        ({"empirical_robust_accuracy": {"0.5": {"pgd": 60.0}}}, "51.24"),
        ({"empirical_robust_accuracy": {"0.5": {"autoattack": 0}}}, "0"),
        ({"empirical_robust_accuracy": {}}, "51.24"),
        ({"empirical_robust_accuracy": None}, "51.24"),
        ({"verified_robust_accuracy": {"0.5": 60.0}}, "51.24"),
    ],
)
def test_reported_is_what_the_authors_have_published(published: dict[str, Any], expected: str) -> None:
    info = info_of(reported=published)
    assert (info["reported"], info["autoattack_acc"]) == (expected, "51.24")


@pytest.mark.parametrize(
    ("count", "images", "expected"),
    [(5929, 10_000, "59.29"), (2, 3, "66.66"), (3, 3, "100.00"), (0, 7, "0.00"), (29, 100, "29.00"), (1, 8, "12.50")],
)
def test_a_proved_share_is_rounded_down(count: int, images: int, expected: str) -> None:
    assert percent_at_least(count, images) == expected


# -- the issue ------------------------------------------------------------------------------------


def fields_of(issue: str) -> dict[str, str]:
    return dict(re.findall(r"^- \*\*(.+?)\*\*: (.*)$", issue, re.MULTILINE))


def test_the_issue_is_the_template_filled_in() -> None:
    issue = robustbench_files(submission(wrong=200, paper="A Paper", authors="A, B", licence="MIT"))[
        "robustbench/new_model.md"
    ]
    _, front, body = issue.split("---\n", 2)
    assert yaml.safe_load(front) == {"title": f"[New Model] {NAME}", "labels": "new-model"}
    fields = fields_of(body)
    evaluation = fields.pop("Evaluation method")
    checkpoint = fields.pop("Checkpoint and code")
    assert fields == {
        "Paper Title": "A Paper",
        "Paper URL": "none",
        "Paper authors": "A, B",
        "Architecture": "0 conv, 0 dense",
        "Threat Model": "L2",
        "eps": "0.5",
        "Clean accuracy": "98.0%",
        "Robust accuracy": "51.24%",
        "Additional data": "false",
    }
    assert "autoattack on all 10,000 images of cifar10 (test); seed 0" in evaluation
    assert "pyautoattack 0.2.0" in evaluation and "% at 36/255" in evaluation
    assert f"robustbench/{NAME}.pt" in checkpoint
    assert "no L2 leaderboard" not in body
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert headings == ["# Paper Information", "# Leaderboard Claim(s)", "## Model 1", "# Model Zoo:"]


@pytest.mark.parametrize(
    ("licence", "mit", "custom"), [("MIT (weights)", "x", " "), ("CC BY 4.0", " ", "x"), (None, " ", " ")]
)
def test_the_licence_boxes_follow_the_card(licence: str | None, mit: str, custom: str) -> None:
    issue = robustbench_files(submission(licence=licence))["robustbench/new_model.md"]
    assert f"- [{mit}] I agree to release my model(s) under MIT license" in issue
    assert f"- [{custom}] I want my models to be released under a custom license" in issue


def test_cifar100_has_no_leaderboard_yet_and_the_files_say_so() -> None:
    truth = labels(classes=100, first=())
    files = robustbench_files(submission(network(100), truth=truth, dataset="cifar100"))
    assert f"robustbench/model_info/cifar100/L2/{NAME}.json" in files
    assert "no L2 leaderboard for CIFAR-100 yet" in files["robustbench/new_model.md"]
    assert "cifar_100_models = OrderedDict([..., (ThreatModel.L2, l2)])" in files["robustbench/zoo_entry.py"]
    assert "L2, l2" not in robustbench_files(submission())["robustbench/zoo_entry.py"]


# -- the zoo entry --------------------------------------------------------------------------------


def entry_of(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`l2` of the executed file, with the architecture where it says that it goes."""
    files = robustbench_files(submission(name=name))
    place = re.search(r"^from (robustbench\.model_zoo\.architectures\.\w+) import (\w+)$", files[ZOO], re.MULTILINE)
    assert place is not None
    parts = place[1].split(".")
    for depth in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), types.ModuleType(parts[depth - 1]))
    module = types.ModuleType(parts[-1])
    exec(files["robustbench/architecture.py"], module.__dict__)
    monkeypatch.setitem(sys.modules, place[1], module)
    namespace: dict[str, Any] = {}
    exec(files[ZOO], namespace)
    found: dict[str, Any] = namespace["l2"]
    return found


ZOO = "robustbench/zoo_entry.py"


@pytest.mark.parametrize("name", [NAME, 'it\'s """ # a {name}', "2026é_x"])
def test_the_zoo_entry_is_an_entry(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = entry_of(name, monkeypatch)
    assert list(found) == [name]
    assert found[name]["gdrive_id"] is None  # which RobustBench refuses to load
    assert found[name]["model"].__name__ == class_name(name)
    assert found[name]["model"]()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


# -- hostile text ---------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """Collects tags and what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.seen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.seen += data


def test_hostile_text_is_shown_and_does_nothing() -> None:
    texts = dict.fromkeys(("paper", "authors", "venue", "architecture", "licence", "link", "based_on"), HOSTILE)
    made = submission(**texts)
    renamed = dataclasses.replace(made.report, environment={**made.report.environment, "torch": HOSTILE})
    files = robustbench_files(dataclasses.replace(made, report=renamed))
    info = json.loads(files[INFO])
    assert info["link"] == ""
    for field in ("name", "authors", "venue", "architecture"):
        page = Tags()
        page.feed(f"<td>{info[field]}</td>")
        page.close()
        assert page.tags == ["td"]
        before = f"{NAME}, based on " if field == "name" else ""
        assert page.seen == before + " ".join(HOSTILE.split())
    issue = files["robustbench/new_model.md"]
    fields = fields_of(issue)
    assert fields["eps"] == "0.5"
    assert issue.count("\n## ") == 1
    assert "<b>" not in issue.replace("\\<b\\>", "")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://arxiv.org/abs/2301.12549", "https://arxiv.org/abs/2301.12549"),
        (" http://example.org/a?b=c&d ", "http://example.org/a?b=c&d"),
        ("javascript:alert(1)", ""),
        ("javascript://example.org/%0aalert(1)", ""),
        ("https://x/ onclick=alert(1)", ""),
        ('https://x/"onclick="a', ""),
        ("https://", ""),
        ("https://[", ""),
        ("arXiv 2301.12549", ""),
        (None, ""),
    ],
)
def test_only_web_addresses_are_links(link: str | None, expected: str) -> None:
    assert web_link(card(network(), link=link)) == expected
