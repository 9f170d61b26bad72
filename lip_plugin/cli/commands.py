"""The command ``lip``: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence

import click

from lip_plugin.cli.conversion import convert_command
from lip_plugin.cli.ending import EXIT_BAD_INPUT, fail
from lip_plugin.cli.evaluation import certify_command, compare_command
from lip_plugin.cli.leaderboard import leaderboard_command
from lip_plugin.cli.merging import merge_command
from lip_plugin.cli.submission import submit_command
from lip_plugin.cli.training import train_command
from lip_plugin.cli.verification import verify_command
from lip_plugin.cli.zoo import add_command, info_command, list_command, push_command, remove_command
from lip_plugin.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lip")
def cli() -> None:
    """Provably robust image classifiers: prove an L2 radius for every image and attack beside the proof.

    Exit codes: 0 done, 1 a check failed (an unsound point, a bundle that does not verify, a board that would
    refuse), 2 bad input or an output that cannot be written, 70 a defect of lip, 71 not enough memory,
    128 + N ended by signal N (130 Ctrl-C, 141 nobody reads the output, 143 SIGTERM).
    """


for command in (
    list_command,
    info_command,
    add_command,
    remove_command,
    push_command,
    certify_command,
    compare_command,
    merge_command,
    submit_command,
    verify_command,
    leaderboard_command,
    train_command,
    convert_command,
):
    cli.add_command(command)


def call(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises what the command raises."""
    try:
        code = cli.main(args=None if arguments is None else list(arguments), prog_name="lip", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        return fail(error.format_message(), EXIT_BAD_INPUT)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0
