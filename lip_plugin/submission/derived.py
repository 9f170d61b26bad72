"""Every text file of a bundle: no clock, no random draw, no place on a disk."""

from __future__ import annotations

from lip_plugin.schema import points_text, report_text
from lip_plugin.submission.attack_log import attack_log
from lip_plugin.submission.layout import ATTACK_LOG, CITATION, LICENCE, POINTS, REPORT_JSON
from lip_plugin.submission.rights import citation, licence
from lip_plugin.submission.robustbench import robustbench_files
from lip_plugin.submission.sok import sok_files
from lip_plugin.submission.submission import Submission


def derived_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content; whoever has the submission can write all of them again, byte for byte."""
    return {
        REPORT_JSON: report_text(submission.report),
        POINTS: points_text(submission.points),
        ATTACK_LOG: attack_log(submission),
        LICENCE: licence(submission.card),
        CITATION: citation(submission.card),
        **robustbench_files(submission),
        **sok_files(submission),
    }
