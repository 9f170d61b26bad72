"""A report drawn with matplotlib, which the extra ``report`` brings: import this room only where it is there."""

from lip_plugin.report.plots.figures import figures as figures
