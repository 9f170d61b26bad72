"""A leaderboard of evaluated models beside published figures, as a page, Markdown and CSV. No torch."""

from lip_plugin.leaderboard.collect import entries_of_reports as entries_of_reports
from lip_plugin.leaderboard.collect import entries_of_zoo as entries_of_zoo
from lip_plugin.leaderboard.entry import Entry as Entry
from lip_plugin.leaderboard.methods import is_proof as is_proof
from lip_plugin.leaderboard.tables import Table as Table
from lip_plugin.leaderboard.tables import make_tables as make_tables
from lip_plugin.leaderboard.write import LEADERBOARD_FILES as LEADERBOARD_FILES
from lip_plugin.leaderboard.write import fill_leaderboard as fill_leaderboard
