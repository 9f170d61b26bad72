"""``lip list``, ``lip info``, ``lip add``, ``lip remove`` and ``lip push``: cards and records only, no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from lip_plugin.cli.card_text import card_text, sides
from lip_plugin.data import DataSet, list_datasets
from lip_plugin.errors import ConfigError
from lip_plugin.leaderboard import is_proof
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard, add_model, list_cards, model_card, push_model, remove_model
from lip_plugin.zoo.own import models_folder


@click.command("list")
@click.option("--dataset", help="Only models for this data set.")
@click.option("--family", help="Only those with this word in their architecture: liresnet_pp, sll, ...")
@click.option("--max-params", type=click.IntRange(min=1), help="Only those of at most so many parameters.")
@click.option("--proved/--assumed", default=None, help="Only those whose card names a proof, or only all others.")
@click.option("--datasets", is_flag=True, help="The data sets that can be named, instead of the models.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(
    dataset: str | None,
    family: str | None,
    max_params: int | None,
    proved: bool | None,
    datasets: bool,
    as_json: bool,
) -> None:
    """List the models that can be loaded by name, or with --datasets the data sets that can be read by name."""
    if datasets:
        if not dataset is family is max_params is proved is None:
            raise ConfigError("--datasets lists data sets; --dataset, --family, --max-params and --proved pick models")
        _list_datasets(as_json)
        return
    cards = [
        card
        for card in list_cards()
        if dataset in (None, card.dataset)
        and (family is None or family.lower() in _family_words(card))
        and (max_params is None or card.params <= max_params)
        and proved in (None, is_proof(card.measured))
    ]
    if as_json:
        click.echo(json.dumps([_row(card) for card in cards], indent=1))
        return
    cards.sort(key=lambda card: (card.dataset or "", card.params))
    rows = [["-" if value in (None, "") else printable(str(value)) for value in _row(card).values()] for card in cards]
    _print_columns([["name", "dataset", "params", "clean", "certified (VRA)", "certificate"], *rows])


@click.command("info")
@click.argument("name")
@click.option("--dataset", help="Which one, where the name exists for several data sets.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
def info_command(name: str, dataset: str | None, as_json: bool) -> None:
    """Show the card of a model by name or directory.

    What was measured and proved, and what not; how it was trained, where it comes from, and how to do it again.
    """
    card = model_card(name, dataset=dataset)
    if as_json:
        click.echo(json.dumps(card.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False))
        return
    click.echo(card_text(card, name))


@click.command("add")
@click.argument("directory", type=Path)
@click.option("--replace", is_flag=True, help="Replace a model of your own of the same name.")
def add_command(directory: Path, replace: bool) -> None:
    """Copy a model directory to where its name is known from now on: `lip list`, `lip certify NAME`, `lp.load_model`.

    The folder is that of the environment variable LIP_PLUGIN_MODELS, or lies where your system keeps a user's data.
    """
    card = add_model(directory, replace=replace)
    click.echo(f"{printable(card.name)} added to {models_folder()}")


@click.command("remove")
@click.argument("name")
@click.option("--dataset", help="Which one, where the name exists for several data sets.")
def remove_command(name: str, dataset: str | None) -> None:
    """Delete a model that `lip add` has copied; shipped and registered ones stay."""
    card = remove_model(name, dataset=dataset)
    click.echo(f"{printable(card.name)} removed from {models_folder()}")


@click.command("push")
@click.argument("directory", type=Path)
@click.argument("place")
def push_command(directory: Path, place: str) -> None:
    """Put a model directory where others load it from: lip push out/my_model hf:owner/name.

    One commit with the weights, the card, a README.md from it, and its measured figures as the hub reads them. Who you
    are is what `hf auth login`, or the variable HF_TOKEN, says. Afterwards: lip certify hf:owner/name.
    """
    address = push_model(directory, place)
    click.echo(f"{printable(str(directory))} is at {printable(address)}")


def _list_datasets(as_json: bool) -> None:
    records = list_datasets()
    if as_json:
        click.echo(json.dumps([_facts(record) for record in records], indent=1, ensure_ascii=False))
        return
    rows = [
        [record.name, sides(record.image_shape), str(record.num_classes), _eps(record), _yes(record), record.files]
        for record in records
    ]
    shown = [[printable(value) for value in row] for row in rows]
    _print_columns([["name", "images", "classes", "eps", "download", "files in --data-dir"], *shown])


def _facts(record: DataSet) -> dict[str, Any]:
    return {
        "name": record.name,
        "title": record.title,
        "image_shape": list(record.image_shape),
        "num_classes": record.num_classes,
        "class_names": list(record.class_names),
        "standard_eps": record.standard_eps,
        "test_images": None if record.test is None else record.test.images,
        "may_be_shown": record.may_be_shown,
        "download": record.download is not None,
        "files": record.files,
    }


def _eps(record: DataSet) -> str:
    return "-" if record.standard_eps is None else format_eps(record.standard_eps)


def _yes(record: DataSet) -> str:
    return "yes" if record.download is not None else "no"


def _family_words(card: ModelCard) -> list[str]:
    return re.split("[ =,]+", (card.architecture or "").lower())


def _row(card: ModelCard) -> dict[str, Any]:
    """Name, data set, size, and the figures in percent: the measured ones, else those that its authors report."""
    figures = card.measured if card.measured.verified_robust_accuracy else card.reported
    certified = figures.verified_robust_accuracy or {}
    return {
        "name": card.name,
        "dataset": card.dataset,
        "params": card.params,
        "clean_accuracy": figures.clean_accuracy,
        "verified_robust_accuracy": ", ".join(f"{share} at {eps}" for eps, share in certified.items()),
        "certificate": ("proved" if is_proof(figures) else "assumed") if certified else None,
    }


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
