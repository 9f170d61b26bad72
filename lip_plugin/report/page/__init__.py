"""A report as one HTML file, which the extra ``report`` brings: import this room only where it is there."""

from lip_plugin.report.page.render import html_page as html_page
from lip_plugin.report.page.render import notebook_frame as notebook_frame
