"""``zoo_entry.py``: the lines that a pull request adds to RobustBench's ``model_zoo/<dataset>.py``."""

from __future__ import annotations

from lip_plugin.submission.robustbench.architecture import class_name, module_name, shown_name
from lip_plugin.submission.robustbench.datasets import WholeSplit
from lip_plugin.submission.submission import Submission

_NO_LEADERBOARD = """
# {title} has no L2 models yet. At the end of the file, where the dictionaries are listed:
#     {dictionaries} = OrderedDict([..., (ThreatModel.L2, l2)])
"""


def zoo_entry(submission: Submission, test_set: WholeSplit) -> str:
    """Valid Python; what only the submitter knows, the id of the uploaded weights, is None there.

    RobustBench refuses to load an entry whose ``gdrive_id`` is None: it never runs with random weights.
    """
    name = submission.card.name
    network, module = class_name(name), module_name(name)
    named = {"title": test_set.title, "dictionaries": test_set.dictionaries}
    missing = "" if test_set.leaderboard else _NO_LEADERBOARD.format(**named)
    return f'''"""For robustbench/model_zoo/{test_set.name}.py.

robustbench/architecture.py of this bundle becomes robustbench/model_zoo/architectures/{module}.py.
"""

from collections import OrderedDict

from robustbench.model_zoo.architectures.{module} import {network}

# Add the entry to the `l2` that is there. 'gdrive_id' is the Google Drive id under which {shown_name(name)}.pt was
# uploaded (its sha256 is in bundle.json); until it is set RobustBench refuses to load the model.
l2 = OrderedDict([
    ({name!r}, {{
        'model': {network},
        'gdrive_id': None,
    }}),
])
{missing}'''
