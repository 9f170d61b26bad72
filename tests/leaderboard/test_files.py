"""The three files: the same figures, names that stay names, and directories that are complete or not there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.files import complete_directory
from lip_plugin.leaderboard import entries_of_zoo, fill_leaderboard, make_tables
from lip_plugin.leaderboard.markdown import escaped

pytest.importorskip("jinja2", reason="needs the extra report")

Save = Callable[..., Path]
Lip = Callable[..., Any]
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> | `=1+1` [a](javascript:b) {{ 7*7 }} &amp; $x$ \\"


@pytest.fixture
def board(document: dict[str, Any], save: Save, lip: Lip, tmp_path: Path) -> Path:
    """Of the report and the published figures for its data set."""
    assert lip("leaderboard", save(document), "--out", tmp_path / "board").code == 0
    return tmp_path / "board"


def markdown_tables(directory: Path) -> list[list[str]]:
    """Cells of all rows but the rules, headers included."""
    lines = (directory / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    rows = [re.split(r"(?<!\\)\|", line.replace("\\\\", "\0"))[1:-1] for line in lines if line.startswith("|")]
    cells = [[re.sub(r"\\(.)", r"\1", cell.strip()).replace("\0", "\\") for cell in row] for row in rows]
    return [row for row in cells if not row[0].startswith("---")]


def test_the_three_files_hold_the_same_figures(
    board: Path, parsed: Callable[..., Any], csv_rows: Callable[..., Any]
) -> None:
    page, sheet = parsed(board), csv_rows(board)
    rows = markdown_tables(board)
    lines = [row for row in rows if row[0] != "model"]  # the headers, one for each standing
    assert len(rows) - len(lines) == len({row["standing"] for row in sheet}) == 2
    assert len(page.rows) == len(sheet) == len(lines) > 30
    for row, exact, line in zip(page.rows, sheet, lines, strict=True):
        assert len(row.cells) == len(line)
        for cell, words in zip(row.cells, line, strict=True):
            assert cell.value == exact[cell.column]
            note = f" ({cell.note})" if cell.note else ""
            link = f" ([{cell.note}](<{exact['link']}>))"
            assert words in (cell.text + note, cell.text + link)
            if cell.column.startswith(("vra", "clean", "survives", "gap")):
                assert (
                    cell.text == "-" if cell.value == "" else abs(float(cell.text) - 100 * float(cell.value)) <= 0.005
                )


def test_figures_of_a_report_in_the_page_and_the_csv(
    board: Path, parsed: Callable[..., Any], csv_rows: Callable[..., Any]
) -> None:
    row = next(row for row in parsed(board).rows if row["name"].text == "net")
    expected = {
        "clean": ("90.0", ""),
        "vra@36/255": ("85.0", "79.4 to 89.3"),
        "survives@36/255": ("87.5", "autoattack; certified not attacked"),
        "gap@36/255": ("2.5", ""),
        "gap@0.25": ("5.0", ""),
        "distance_over_radius": ("1.234", ""),
        "found_over_proved": ("0.750", ""),
        "params": ("1.23 M", "conv"),
        "images": ("10,000", "all 10,000 images of cifar10 (test)"),
        "certify_seconds": ("1.5 s", "cpu"),
        "attack_seconds": ("62.2 s", "cpu"),
        "attack_forwards": ("54,321", ""),
        "certificate": ("claimed sound", "product of verified operator norms; real arithmetic"),
        "origin": ("claimed, report", "report.json"),
    }
    assert {name: (row[name].text, row[name].note) for name in expected} == expected
    exact = next(row for row in csv_rows(board) if row["name"] == "net")
    assert json.loads(exact["attacks@36/255"]) == {"foolbox:DDN": 0.89, "autoattack": 0.875}
    assert (exact["vra_low@36/255"], exact["vra_high@0.25"], exact["attack@0.25"]) == ("0.794", "0.8048", "autoattack")
    assert (exact["skipped_certified"], exact["arithmetic"], exact["params"]) == ("yes", "real", "1234567")


def test_every_row_says_whether_it_is_claimed_and_how_it_is_certified(board: Path, parsed: Callable[..., Any]) -> None:
    kinds = set[str]()
    for row in parsed(board).rows:
        assert row["name"].note == f"{row['certificate'].text}; {row['origin'].text}"
        assert row.kind == ("claimed" if row["name"].text == "net" else "reported")
        kinds.add(row["certificate"].text)
    assert kinds == {"claimed sound", "estimated", "by construction", "probabilistic", "not stated"}


def test_a_refuted_row_is_marked_and_last(
    document: dict[str, Any], save: Save, lip: Lip, parsed: Callable[..., Any], tmp_path: Path
) -> None:
    document["status"] = "failed"
    assert lip("leaderboard", save(document), "--out", tmp_path / "board").code == 0
    last = parsed(tmp_path / "board").rows[-1]
    assert (last["name"].text, last.kind, last["certificate"].text) == ("net", "contradicted", "contradicted")


def test_names_stay_names(
    evaluation: Callable[..., dict[str, Any]],
    save: Save,
    lip: Lip,
    parsed: Callable[..., Any],
    csv_rows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    document = evaluation(survived=({HOSTILE: 0.86}, {HOSTILE: 0.8}))
    document["model"] |= {"name": HOSTILE, "architecture": HOSTILE}
    document["dataset"]["name"] = HOSTILE.replace("/", "").replace("\\", "").strip()
    document["lipschitz"]["method"] = HOSTILE
    assert lip("leaderboard", save(document), "--out", tmp_path / "board").code == 0
    page = parsed(tmp_path / "board")
    assert len(page.scripts) == 1
    assert [named for tag, named in page.elements if tag == "img" or any(name.startswith("on") for name in named)] == []
    (row,) = page.rows
    assert (row["name"].text, row["params"].note) == (f"{HOSTILE} (n=10000)", HOSTILE)
    assert row["survives@36/255"].note == f"{HOSTILE}; certified not attacked"
    assert row["certificate"].text == "not stated"
    (exact,) = csv_rows(tmp_path / "board")
    assert exact["method"] == exact["attack@36/255"] == HOSTILE
    assert (exact["name"], exact["dataset"]) == (f"{HOSTILE} (n=10000)", "own images")
    header, line = markdown_tables(tmp_path / "board")
    assert len(header) == len(line)
    assert line[0] == f"{HOSTILE} (n=10000) (not stated; claimed, report)"


@pytest.mark.parametrize("name", ["=1+1", "+1+1", "-1+1", "@SUM(1)", '=HYPERLINK("x"), "', "-5", "plain", "'=1"])
def test_text_that_begins_like_a_formula_is_quoted(
    document: dict[str, Any], save: Save, lip: Lip, csv_rows: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    document["model"]["name"] = name
    document["status"] = "failed"  # a gap below 0 is a number and stays one
    document["attacks"] = [name]
    for result in document["eps"]:
        result["empirical_robust_accuracy"] = {name: 0.8}
    assert lip("leaderboard", save(document), "--out", tmp_path / "board", "--quiet").code == 0
    row = next(row for row in csv_rows(tmp_path / "board") if row["name"].strip("'") == name.strip("'"))
    apostrophe = "" if name in ("plain", "'=1", "-5") else "'"
    assert row["name"] == row["attack@36/255"] == apostrophe + name
    assert float(row["gap@36/255"]) == pytest.approx(-0.05)


def test_markdown_leaves_ordinary_names_alone() -> None:
    assert escaped("LipPlugin2026_LiResNet_S (L6 W64)") == "LipPlugin2026_LiResNet_S (L6 W64)"
    assert escaped("a|b*_c_ `d` <e>") == r"a\|b\*\_c\_ \`d\` \<e\>"


def test_the_page_loads_nothing_and_runs_only_its_own_script(board: Path, parsed: Callable[..., Any]) -> None:
    page = parsed(board)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(named["content"] for _, named in page.elements if named.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    for tag, named in page.elements:
        assert not {"src", "srcset", "action", "poster", "onclick", "style"} & set(named), tag
        if "href" in named:
            assert named["href"].startswith(("https://", "#", "data:,"))
            assert (tag == "link") == (named["href"] == "data:,")
    assert "@import" not in (board / "index.html").read_text()


def test_without_the_extra_there_are_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lip: Lip) -> None:
    monkeypatch.delitem(sys.modules, "lip_plugin.leaderboard.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = lip("leaderboard", "--out", tmp_path / "board", "--quiet")
    assert done.code == 0
    assert "pip install 'lip-plugin[report]'" in done.out
    assert done.out.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == ["leaderboard.csv", "leaderboard.md"]


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with complete_directory(tmp_path / name) as folder:
            assert fill_leaderboard(make_tables(entries_of_zoo()), folder) is None
    for file in ("index.html", "leaderboard.md", "leaderboard.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_only_an_earlier_leaderboard_is_replaced(tmp_path: Path, lip: Lip) -> None:
    out = tmp_path / "board"
    assert lip("leaderboard", "--out", out).out.startswith("Leaderboard of ")
    refused = lip("leaderboard", "--out", out)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--overwrite" in refused.err
    assert lip("leaderboard", "--out", out, "--overwrite", "--quiet").out == ""
    (out / "thesis.tex").write_text("years")
    assert "'thesis.tex'" in lip("leaderboard", "--out", out, "--overwrite").err
    assert (out / "thesis.tex").read_text() == "years"


def test_one_data_set_can_be_asked_for(tmp_path: Path, lip: Lip, csv_rows: Callable[..., Any]) -> None:
    assert lip("leaderboard", "--out", tmp_path / "board", "--dataset", "fashion_mnist").code == 0
    assert [row["name"] for row in csv_rows(tmp_path / "board")] == ["LipPlugin2026_LiResNet_Demo"]
    unknown = lip("leaderboard", "--out", tmp_path / "other", "--dataset", "cifar11")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "Did you mean 'cifar10'" in unknown.err
    assert lip("leaderboard").code == 2


def test_neither_cards_nor_reports_need_a_heavy_library(document: dict[str, Any], save: Save, tmp_path: Path) -> None:
    code = (
        "import sys; from lip_plugin.cli import run; "
        f"codes = [run(['leaderboard', '--out', {str(tmp_path / 'zoo')!r}]), "
        f"run(['leaderboard', {str(save(document))!r}, '--out', {str(tmp_path / 'reports')!r}])]; "
        "print(codes, sorted({'torch', 'numpy', 'safetensors', 'rich', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0] []"
