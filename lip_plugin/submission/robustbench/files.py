"""The text files of ``robustbench/``, each validated against the rules of whoever reads it."""

from __future__ import annotations

from lip_plugin.submission.layout import ROBUSTBENCH
from lip_plugin.submission.robustbench.architecture import architecture_source, validate_architecture
from lip_plugin.submission.robustbench.datasets import test_set_of
from lip_plugin.submission.robustbench.issue import new_model_issue, validate_issue
from lip_plugin.submission.robustbench.model_info import model_info, validate_model_info
from lip_plugin.submission.robustbench.zoo_entry import validate_zoo_entry, zoo_entry
from lip_plugin.submission.submission import Submission


def robustbench_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content: a pure function of the submission.

    The network in plain torch, the line of the leaderboard and the issue are always there, in RobustBench's form; the
    zoo entry only where its zoo has the data set. Whether it would *accept* the claim, its board says.
    """
    card, report, model = submission.card, submission.report, submission.model
    name, dataset = card.name, report.dataset.name
    source, info = architecture_source(model, name), model_info(submission)
    test_set = test_set_of(dataset, model.input_shape, model.num_classes)
    issue = new_model_issue(submission, test_set)
    validate_architecture(source, name)
    validate_model_info(info)
    validate_issue(issue, name)
    files = {
        f"{ROBUSTBENCH}/architecture.py": source,
        f"{ROBUSTBENCH}/model_info/{dataset}/L2/{name}.json": info,
        f"{ROBUSTBENCH}/new_model.md": issue,
    }
    if test_set is not None:
        entry = zoo_entry(submission, test_set)
        validate_zoo_entry(entry, name)
        files[f"{ROBUSTBENCH}/zoo_entry.py"] = entry
    return files
