"""Names of a bundle's files, relative to it."""

from __future__ import annotations

MANIFEST = "bundle.json"
MODEL = "model"
REPORT = "report"
REPORT_JSON = "report/report.json"
POINTS = "report/points.csv"
PERTURBATIONS = "adversarial.safetensors"
ATTACK_LOG = "attack.log"
ROBUSTBENCH = "robustbench"
SOK = "sok"
LICENCE = "LICENSE.txt"
CITATION = "CITATION.bib"
IMAGES = "images.npz"
ADVERSARIAL_IMAGES = "robustbench/x_adv.pt"

TOP_LEVEL = frozenset(
    {
        MANIFEST,
        MODEL,
        REPORT,
        PERTURBATIONS,
        ATTACK_LOG,
        ROBUSTBENCH,
        SOK,
        LICENCE,
        CITATION,
        IMAGES,
    }
)
"""What a bundle holds, and all that `--overwrite` of one may replace."""


def state_dict_file(name: str) -> str:
    """The weights in the form that RobustBench loads."""
    return f"{ROBUSTBENCH}/{name}.pt"
