"""What RobustBench asks of a submission, and the network in plain torch."""

from lip_plugin.submission.robustbench.execution import other_labels as other_labels
from lip_plugin.submission.robustbench.files import robustbench_files as robustbench_files
from lip_plugin.submission.robustbench.state_dict import state_dict_bytes as state_dict_bytes
