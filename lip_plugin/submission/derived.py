"""Every text file of a bundle that follows from the submission: no clock, no random draw, no place on a disk."""

from __future__ import annotations

from lip_plugin.report import report_texts
from lip_plugin.submission.attack_log import attack_log
from lip_plugin.submission.certificate_statement import certificate_statement
from lip_plugin.submission.curve import curve_csv
from lip_plugin.submission.layout import ATTACK_LOG, CERTIFICATE, CITATION, CURVE, LICENCE, README, REPORT
from lip_plugin.submission.readme import readme
from lip_plugin.submission.rights import citation, licence
from lip_plugin.submission.robustbench import robustbench_files
from lip_plugin.submission.sok import sok_files
from lip_plugin.submission.submission import Submission


def derived_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content; whoever has the submission can write all of them again."""
    return {
        README: readme(submission),
        CERTIFICATE: certificate_statement(submission),
        CURVE: curve_csv(submission.report),
        ATTACK_LOG: attack_log(submission),
        LICENCE: licence(submission.card),
        CITATION: citation(submission.card),
        **{f"{REPORT}/{name}": content for name, content in report_texts(submission.report).items()},
        **robustbench_files(submission),
        **sok_files(submission),
    }
