"""The command ``lip``: parse, call, print. Errors become one line on stderr and the documented exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from lip_plugin.cli.ending import EXIT_BAD_INPUT, fail, line_and_code
from lip_plugin.cli.evaluation import certify_command, compare_command
from lip_plugin.cli.leaderboard import leaderboard_command
from lip_plugin.cli.submission import submit_command
from lip_plugin.cli.training import train_command
from lip_plugin.cli.verification import verify_command
from lip_plugin.cli.zoo import info_command, list_command
from lip_plugin.errors import LipPluginError
from lip_plugin.version import __version__

EXIT_DEFECT = 70


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lip")
def cli() -> None:
    """Provably robust image classifiers: prove an L2 radius for every image and attack beside the proof.

    Exit codes: 0 done, 1 a check failed (an unsound point, a bundle that does not verify, a board that would
    refuse), 2 bad input.
    """


for command in (
    list_command,
    info_command,
    certify_command,
    compare_command,
    submit_command,
    verify_command,
    leaderboard_command,
    train_command,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = cli.main(args=list(arguments) if arguments is not None else None, prog_name="lip", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        return fail(error.format_message(), EXIT_BAD_INPUT)
    except (LipPluginError, OSError) as error:
        return fail(*line_and_code(error))
    except (click.Abort, KeyboardInterrupt):
        return fail("interrupted", 130)
    except Exception:  # a defect of ours; exit code 1 is kept for failed checks
        traceback.print_exc()
        return fail("unexpected error, please report it with the lines above", EXIT_DEFECT)
    return code if isinstance(code, int) else 0
