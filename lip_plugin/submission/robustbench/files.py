"""The text files of ``robustbench/``, each validated against the rules of whoever reads it."""

from __future__ import annotations

from lip_plugin.submission.layout import ROBUSTBENCH
from lip_plugin.submission.robustbench.architecture import architecture_source, validate_architecture
from lip_plugin.submission.robustbench.datasets import TEST_SETS, WholeSplit
from lip_plugin.submission.robustbench.issue import new_model_issue, validate_issue
from lip_plugin.submission.robustbench.model_info import model_info, validate_model_info
from lip_plugin.submission.robustbench.zoo_entry import validate_zoo_entry, zoo_entry
from lip_plugin.submission.submission import Submission


def robustbench_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content: a pure function of the submission.

    The network in plain torch is always there. The claim (model_info, the issue, the zoo entry) is where RobustBench
    could read it: for images as one of `TEST_SETS` has them. Whether it would *accept* it, its board says.
    """
    name = submission.card.name
    source = architecture_source(submission.model, name)
    validate_architecture(source, name)
    files = {f"{ROBUSTBENCH}/architecture.py": source}
    test_set = readable_as(submission)
    return files if test_set is None else {**files, **_claim(submission, test_set)}


def readable_as(submission: Submission) -> WholeSplit | None:
    """The data set of RobustBench that name, images and classes fit."""
    test_set = TEST_SETS.get(submission.report.dataset.name)
    model = submission.model
    fits = test_set is not None and (model.input_shape, model.num_classes) == (
        test_set.image_shape,
        test_set.num_classes,
    )
    return test_set if fits else None


def _claim(submission: Submission, test_set: WholeSplit) -> dict[str, str]:
    name = submission.card.name
    info, issue, entry = model_info(submission), new_model_issue(submission, test_set), zoo_entry(submission, test_set)
    validate_model_info(info)
    validate_issue(issue, name)
    validate_zoo_entry(entry, name)
    return {
        f"{ROBUSTBENCH}/model_info/{test_set.name}/L2/{name}.json": info,
        f"{ROBUSTBENCH}/new_model.md": issue,
        f"{ROBUSTBENCH}/zoo_entry.py": entry,
    }
