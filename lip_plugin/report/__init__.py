"""Reports: json, csv, markdown, terminal, and with the extra ``report`` a page and plots."""

from lip_plugin.report.document import points_csv as points_csv
from lip_plugin.report.document import report_document as report_document
from lip_plugin.report.markdown import markdown as markdown
from lip_plugin.report.statistics import statistics as statistics
from lip_plugin.report.terminal import print_report as print_report
from lip_plugin.report.views import html as html
from lip_plugin.report.views import plot as plot
from lip_plugin.report.write import fill_report as fill_report
from lip_plugin.report.write import report_texts as report_texts
from lip_plugin.report.write import write_report as write_report
