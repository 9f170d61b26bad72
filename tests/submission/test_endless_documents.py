"""Documents that are wrong in a million places: what is said of them must not take more than they do."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.schema import ReportValues, read_points
from lip_plugin.untrusted import parse_document
from lip_plugin.zoo import ModelCard

MANY = 1000


def lists(value: Any) -> Iterator[list[Any]]:
    """Every list in a document, those inside others too."""
    if isinstance(value, list):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from lists(inner)


@pytest.mark.parametrize(
    ("name", "kind"), [("report/report.json", TypeAdapter(ReportValues)), ("model/card.json", TypeAdapter(ModelCard))]
)
def test_a_list_is_read_to_its_first_wrong_entry(honest: Path, name: str, kind: TypeAdapter[Any]) -> None:
    """Collecting all of them holds the interpreter, and so what watches time and memory, for as long as it takes."""
    document = json.loads((honest / name).read_text("utf-8"))
    found = 0
    for one in lists(document):
        before, one[:] = one.copy(), [{}] * MANY
        try:
            kind.validate_json(json.dumps(document))
        except ValidationError as error:
            assert error.error_count() < 10
            found += 1
        one[:] = before
    assert found > 4


def test_an_object_has_a_bounded_number_of_keys() -> None:
    assert len(parse_document(json.dumps({str(key): 0 for key in range(2**16)}).encode(), "it")) == 2**16
    with pytest.raises(CheckpointError, match="65537 keys; at most 65536"):
        parse_document(json.dumps({str(key): 0 for key in range(2**16 + 1)}).encode(), "it")


def test_a_table_is_read_to_its_first_row_of_another_length(honest: Path, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    header = (honest / "report" / "points.csv").read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(header + b"\n" * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="expected the columns"):
            read_points(path, (0.02, 0.1, 0.5))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20  # a list for each line would take 60 times the file
    finally:
        tracemalloc.stop()
