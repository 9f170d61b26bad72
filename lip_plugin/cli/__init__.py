"""The command line."""

from lip_plugin.cli.main import main as main
from lip_plugin.cli.main import run as run
