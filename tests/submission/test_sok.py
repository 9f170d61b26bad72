"""Records for the SoK leaderboard: its settings and keys, what they claim, and hostile text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lip_plugin.submission.sok import sok_files

from .claims import NAME, submission

FILE = "sok/board.yml"
SETTING_36 = "CIFAR-10,&nbsp; \\(\\ell_2\\), &nbsp; \\(\\epsilon=36/255\\)"


def groups(**settings: Any) -> list[dict[str, Any]]:
    return yaml.safe_load(sok_files(submission(**settings))[FILE])


def test_the_settings_are_those_of_the_board_that_were_evaluated() -> None:
    found = groups(eps=(36 / 255, 0.25, 0.5, 1.0, 2.0))
    assert [group["setting"].split("epsilon=")[1] for group in found] == ["36/255\\)", "0.25\\)", "1.0\\)", "2.0\\)"]
    assert found[0]["setting"] == SETTING_36
    imagenet = groups(dataset="imagenet", eps=(36 / 255, 0.25, 1.0, 2.0))
    assert [group["setting"] for group in imagenet] == [
        f"ImageNet,&nbsp; \\(\\ell_2\\), &nbsp; \\(\\epsilon={eps}\\)" for eps in ("1.0", "2.0")
    ]


def test_a_record_has_the_keys_of_the_board() -> None:
    made = submission(wrong=300, paper="A Paper", link="https://arxiv.org/abs/1", venue="ICLR 2024", eps=(36 / 255,))
    (group,) = yaml.safe_load(sok_files(made)[FILE])
    (record,) = group["records"]
    (result,) = made.report.eps
    comment = record.pop("comment")
    assert record == {
        "score": f"{result.counts['certified'] / 100:.2f}%",
        "title": "A Paper",
        "link": "https://arxiv.org/abs/1",
        "prob": False,
        "venue": "ICLR 2024",
    }
    assert 0 < float(record["score"][:-1]) < 97
    assert NAME in comment and "arithmetic real" in comment and "10000 images" in comment


def test_without_a_venue_the_board_shows_a_preprint() -> None:
    record = groups()[0]["records"][0]
    assert record["venue"] is None and record["link"] == "" and record["title"] == NAME


@pytest.mark.parametrize(
    "settings",
    [{"dataset": "fashion_mnist"}, {"dataset": "cifar100"}, {"eps": (0.5,)}, {"dataset": "imagenet", "eps": (0.25,)}],
)
def test_without_a_setting_there_is_no_file(settings: dict[str, Any]) -> None:
    assert sok_files(submission(**settings)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "a: b",
        "- not: a list",
        "x\n- setting: y",
        '"',
        "'",
        "#",
        "&a *a !!python/object:os.system",
        "|\n  x",
        "%",
        "a\tb",
        "\U0001f600é",
        "no",
        "1.5",
        "null",
        "x " * 400,
    ],
)
def test_hostile_text_stays_text(text: str) -> None:
    (group,) = groups(eps=(36 / 255,), paper=text, venue=text, link=text, licence=text)
    assert group["setting"] == SETTING_36
    (record,) = group["records"]
    shown = " ".join(text.split()).replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#x27;")
    assert record["title"] == record["venue"] == shown
    assert record["link"] == ""


def test_markup_is_no_markup() -> None:
    (group,) = groups(eps=(36 / 255,), paper="<script>alert(1)</script>")
    assert group["records"][0]["title"] == "&lt;script&gt;alert(1)&lt;/script&gt;"
