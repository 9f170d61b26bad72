"""The command line. Light to import: how a command ends is settled before anything heavy begins."""

from lip_plugin.cli.process import main as main
from lip_plugin.cli.process import run as run
