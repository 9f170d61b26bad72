"""The text files of ``robustbench/``."""

from __future__ import annotations

from lip_plugin.submission.layout import ROBUSTBENCH
from lip_plugin.submission.robustbench.architecture import architecture_source
from lip_plugin.submission.robustbench.datasets import test_set_of
from lip_plugin.submission.robustbench.issue import new_model_issue
from lip_plugin.submission.robustbench.model_info import model_info
from lip_plugin.submission.robustbench.zoo_entry import zoo_entry
from lip_plugin.submission.submission import Submission


def robustbench_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content: a pure function of the submission.

    The network in plain torch, the line of the leaderboard and the issue are always there, in RobustBench's form; the
    zoo entry only where its zoo has the data set. Whether it would *accept* the claim, its board says.
    """
    card, report, model = submission.card, submission.report, submission.model
    name, dataset = card.name, report.dataset.name
    test_set = test_set_of(dataset, model.input_shape, model.num_classes)
    files = {
        f"{ROBUSTBENCH}/architecture.py": architecture_source(model, name),
        f"{ROBUSTBENCH}/model_info/{dataset}/L2/{name}.json": model_info(submission),
        f"{ROBUSTBENCH}/new_model.md": new_model_issue(submission, test_set),
    }
    if test_set is not None:
        files[f"{ROBUSTBENCH}/zoo_entry.py"] = zoo_entry(submission, test_set)
    return files
