"""The command ``lip``: parse, call, print. Errors become one line on stderr and the documented exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from lip_plugin.cli.evaluation import certify_command, compare_command
from lip_plugin.cli.training import train_command
from lip_plugin.cli.zoo import info_command, list_command
from lip_plugin.errors import LipPluginError, SoundnessError, StoppedError
from lip_plugin.version import __version__

EXIT_FAILED_CHECK = 1
EXIT_BAD_INPUT = 2
EXIT_DEFECT = 70


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lip")
def cli() -> None:
    """Provably robust image classifiers: prove an L2 radius for every image and attack beside the proof.

    Exit codes: 0 done, 1 a check failed (an unsound point), 2 bad input.
    """


for command in (list_command, info_command, certify_command, compare_command, train_command):
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
        return _fail(error.format_message(), EXIT_BAD_INPUT)
    except StoppedError as error:
        return _fail(str(error), 128 + error.signal)
    except SoundnessError as error:
        return _fail(str(error), EXIT_FAILED_CHECK)
    except LipPluginError as error:
        return _fail(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", EXIT_BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except Exception:  # a defect of ours; exit code 1 is kept for failed checks
        traceback.print_exc()
        return _fail("unexpected error, please report it with the lines above", EXIT_DEFECT)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    click.echo(f"lip: {' '.join(message.split())}", err=True)
    return code
