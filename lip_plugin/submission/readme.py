"""``README.md`` of a bundle: what it is, what was found, who would take it, and how to check it."""

from __future__ import annotations

from lip_plugin.report.markdown import escaped, table
from lip_plugin.report.summary import headline, remarks, table_header, table_rows
from lip_plugin.submission.boards import Board
from lip_plugin.submission.boards.registry import BOARDS, get_board
from lip_plugin.submission.submission import Submission

_CHECK = """\
## Check it

    pip install lip-plugin
    lip verify DIR

It proves bound, radii and accuracies again from the weights, and looks at every stored adversarial point: within eps,
misclassified, at the distance that `report/points.csv` gives. It needs the images: where `images.npz` is not here and
lip-plugin does not ship them, give `--data-dir` or `--data`. Taken on trust: that the attacks ran as `attack.log` says,
which of several attacks an image survived, and seconds."""

_FILES = [
    ("bundle.json", "what this is about, and the sha256 of every file"),
    ("CERTIFICATE.md", "what is proved, and what is not"),
    ("model/", "card and weights; `lip certify DIR/model` and `lp.load_model` read it"),
    ("report/", "report.json, points.csv (one line per image), report.md, and report.html where it could be made"),
    ("curve.csv, curve.svg", "certified and empirical accuracy against eps"),
    (
        "adversarial.safetensors",
        "adversarial points less their images, and the indices of these",
    ),
    ("attack.log", "the attacks as they ran: stages, seeds, versions, settings"),
    ("robustbench/", "the network in plain torch and its state dict; for RobustBench's data sets all that it asks for"),
    ("sok/", "records for the SoK leaderboard of certified robustness, for the data sets that it has"),
    ("LICENSE.txt, CITATION.bib", "terms, and how to cite"),
    ("images.npz, robustbench/x_adv.pt", "only where asked for: the images, and their adversarial versions"),
]


def readme(submission: Submission) -> str:
    report = submission.report
    parts = [
        f"# {escaped(submission.card.name)}: submission bundle",
        f"Made for: {get_board(submission.board).title}. {escaped(headline(report))}.",
        table(table_header(report), table_rows(report)),
        "Proved figures are lower bounds on robust accuracy, what survives attacks upper bounds. Lipschitz networks "
        "are usually compared at 36, 72 and 108 over 255, RobustBench's models at 0.5.",
        "\n".join(f"- {escaped(remark)}" for remark in remarks(report)),
        "## Boards",
        table(["board", "would take this bundle", "why not"], [_verdict(board, submission) for board in BOARDS]),
        _CHECK,
        *(["The same evaluation again:", f"    {' '.join(report.command.split())}"] if report.command else []),
        "## Files",
        "\n".join(["| file | what |", "| --- | --- |", *(f"| {name} | {what} |" for name, what in _FILES)]),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(board: Board, submission: Submission) -> list[str]:
    refusals = board.refusals_after(submission)
    return [board.title, "no" if refusals else "yes", "; ".join(map(str, refusals))]
