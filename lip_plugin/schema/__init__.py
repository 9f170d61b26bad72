"""Reports, points and a card's figures as typed values: what writers dump and readers validate. No torch."""

from lip_plugin.schema.figures import Figures as Figures
from lip_plugin.schema.points import PointsTable as PointsTable
from lip_plugin.schema.points import points_text as points_text
from lip_plugin.schema.points import read_points as read_points
from lip_plugin.schema.reading import read_report as read_report
from lip_plugin.schema.report import ReportValues as ReportValues
from lip_plugin.schema.report import report_json as report_json
from lip_plugin.schema.report import report_text as report_text
