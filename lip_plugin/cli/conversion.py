"""``lip convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lip_plugin.errors import ConfigError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE


@click.command("convert")
@click.argument("file", type=Path)
@click.option("--implementation", required=True, help="Whose it is: bronet, hu23, liresnet_pp or an installed one.")
@click.option("--out", type=Path, required=True, help="Model directory to write.")
@click.option("--key", help="Which entry of FILE, where it holds several networks, for example ema.")
@click.option("--set", "settings", multiple=True, help="A size that the shapes do not tell: KEY=VALUE, repeatable.")
@click.option("--float32", is_flag=True, help="Take float16 or bfloat16 weights as float32 (no number changes).")
@click.option("--name", help="The model's name in its card (default: that of --out).")
@click.option("--dataset", help="The data set it was trained on, for its card.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
def convert_command(**options: Any) -> None:
    """Make a published checkpoint a model directory that every command takes.

    FILE is a .safetensors file or one of torch.save, the state dict itself or what a training script puts around it;
    for bronet also a folder with such a file and its .yaml, as their model pages have it.
    Sizes are read from the weights' shapes. Nothing of FILE is run, and nothing is written unless all of it converts.
    Exits with 2 where FILE is no such checkpoint, holds several networks, or --out cannot be written.
    """
    from lip_plugin.published.conversion import convert_file

    given = dict(_setting(text) for text in options["settings"])
    out: Path = options["out"]
    made = convert_file(
        options["file"], options["implementation"], given=given, key=options["key"], widen=options["float32"]
    )
    replaceable = frozenset({CARD_FILE, WEIGHTS_FILE}) if options["overwrite"] else frozenset[str]()
    made.write(out, name=options["name"] or out.absolute().name, dataset=options["dataset"], replaceable=replaceable)
    told = ", ".join(f"{key} = {made.config[key]}" for key in made.told)
    click.echo(f"from the weights' shapes: {told or 'nothing'}")
    click.echo(f"{made.network.num_parameters:,} parameters, digest {made.network.digest[:16]}, written to {out}")


def _setting(text: str) -> tuple[str, Any]:
    from lip_plugin.untrusted.settings import parse_settings

    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {text[:80]!r} is not of the form KEY=VALUE, for example --set input_size=32")
    return key, parse_settings(value, f"--set {key[:80]}")
