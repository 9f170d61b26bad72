"""``zoo_entry.py``: the lines that a pull request adds to RobustBench's ``model_zoo/<dataset>.py``."""

from __future__ import annotations

import ast

from lip_plugin.errors import ConfigError
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


def validate_zoo_entry(source: str, name: str) -> None:
    """Raise ConfigError unless this is Python whose `l2` has one entry, under this name. Nothing is executed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"zoo_entry.py is not Python: {error}") from error
    assigned = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    calls = [node for node in assigned if isinstance(node, ast.Call) and len(node.args) == 1]
    entries = [entry for call in calls for entry in getattr(call.args[0], "elts", ())]
    keys = [ast.literal_eval(entry.elts[0]) for entry in entries if isinstance(entry, ast.Tuple)]
    if keys != [name]:
        raise ConfigError(f"zoo_entry.py has entries {keys}; expected {[name]}")
