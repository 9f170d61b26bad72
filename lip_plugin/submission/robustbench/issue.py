"""``new_model.md``: RobustBench's new-model issue, filled in.

Source: `.github/ISSUE_TEMPLATE/new-model.md` of RobustBench.
"""

from __future__ import annotations

import yaml

from lip_plugin.report.markdown import escaped
from lip_plugin.submission.robustbench.datasets import EPS, WholeSplit
from lip_plugin.submission.robustbench.model_info import autoattack_accuracy, footnote
from lip_plugin.submission.robustbench.texts import paper_title, percent, stated, web_link
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps

_ARCHITECTURES = "https://github.com/RobustBench/robustbench/tree/master/robustbench/model_zoo/architectures"


def new_model_issue(submission: Submission, test_set: WholeSplit | None) -> str:
    """Title and label as front matter, as in the template, then the text. The address of the weights stays open.

    ``test_set`` is None where RobustBench does not have the data set, which the issue then says.
    """
    card = submission.card
    title = yaml.safe_dump(
        {"title": f"[New Model] {card.name}", "labels": "new-model"}, allow_unicode=True, sort_keys=False, width=1000
    )
    parts = [
        f"---\n{title}---",
        "# Paper Information",
        _listed(
            {
                "Paper Title": escaped(paper_title(card)),
                "Paper URL": web_link(card) or "none",
                "Paper authors": escaped(stated(card.authors) or "not stated"),
            }
        ),
        "# Leaderboard Claim(s)",
        "## Model 1",
        _listed(_claim(submission)),
        *_no_leaderboard(submission, test_set),
        "# Model Zoo:",
        _boxes(card.licence),
    ]
    return "\n\n".join(parts) + "\n"


def _claim(submission: Submission) -> dict[str, str]:
    card, report = submission.card, submission.report
    survived = autoattack_accuracy(report)
    name = escaped(card.name)
    return {
        "Architecture": escaped(stated(card.architecture) or stated(report.model.architecture) or "not stated"),
        "Threat Model": "L2",
        "eps": format_eps(EPS),
        "Clean accuracy": f"{percent(report.clean_accuracy)}%",
        "Robust accuracy": "not measured" if survived is None else f"{survived}%",
        "Additional data": {True: "true", False: "false", None: "not stated"}[card.additional_data],
        "Evaluation method": f"{_evaluation(submission)} {escaped(footnote(report))}",
        "Checkpoint and code": f"(put the URL here under which this bundle can be had: robustbench/{name}.pt, "
        "robustbench/architecture.py, sha256 of both in bundle.json, `lip verify` for the whole)",
    }


def _evaluation(submission: Submission) -> str:
    report = submission.report
    environment = report.environment
    return escaped(
        f"{', '.join(report.attacks) or 'no attack'} on {report.dataset.in_words}; "
        f"seed {environment.get('seed')}, torch {environment.get('torch')}, "
        f"pyautoattack {environment.get('pyautoattack', 'not used')}, lip-plugin {environment.get('lip_plugin')}; "
        "stages in attack.log, adversarial points in adversarial.safetensors."
    )


def _no_leaderboard(submission: Submission, test_set: WholeSplit | None) -> list[str]:
    if test_set is None:
        name = escaped(submission.report.dataset.name)
        return [f"RobustBench does not have these images ({name}); the claim is in its form, for other readers."]
    if test_set.leaderboard:
        return []
    return [
        f"RobustBench has no L2 leaderboard for {test_set.title} yet: this asks for one, at eps {format_eps(EPS)} as "
        "for CIFAR-10. The entry in zoo_entry.py says where its dictionary goes."
    ]


def _boxes(licence: str | None) -> str:
    """MIT where the card's licence begins with it, another licence where it names one, neither where it is silent."""
    mit = (licence or "").startswith("MIT")
    custom = bool(licence) and not mit
    return "\n".join(
        [
            "- [x] I want to add my models to the Model Zoo (check if true)",
            "- [x] I use an architecture that is **not** included among those "
            f"[here]({_ARCHITECTURES}) (check if true).",
            f"- [{'x' if mit else ' '}] I agree to release my model(s) under MIT license (check if true) **OR**",
            f"- [{'x' if custom else ' '}] I want my models to be released under a custom license, located here: "
            f"{'LICENSE.txt of the bundle' if custom else '(custom license URL here)'}",
        ]
    )


def _listed(fields: dict[str, str]) -> str:
    return "\n".join(f"- **{name}**: {value}" for name, value in fields.items())
