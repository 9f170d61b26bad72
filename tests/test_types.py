"""Radii as text: read, written, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lip_plugin.errors import ConfigError
from lip_plugin.types import format_eps, parse_eps, parse_eps_grid


def test_eps_is_read_as_people_write_it() -> None:
    assert parse_eps("36/255") == 36 / 255
    assert parse_eps(" 36 / 255 ") == 36 / 255
    assert parse_eps("0.25") == parse_eps(0.25) == 0.25
    assert parse_eps_grid(["0.5", 36 / 255, "36/255"]) == (36 / 255, 0.5)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1/0", "1/2/3", "", "x", "1e999999999", "1e308", "0x10", None])
def test_what_is_no_radius_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match="eps"):
        parse_eps(text)


@given(st.one_of(st.integers(1, 2000).map(lambda n: n / 255), st.floats(0, 1e6)))
def test_written_eps_reads_back_exactly(eps: float) -> None:
    assert parse_eps(format_eps(eps)) == eps


def test_written_eps_is_short_where_it_can_be() -> None:
    assert [format_eps(eps) for eps in (0.25, 36 / 255, 0.2, 1.0)] == ["0.25", "36/255", "0.2", "1"]
