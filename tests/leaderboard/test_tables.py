"""Which rows stand together, in which order, and how numbers look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lip_plugin.leaderboard import Entry, make_tables, shown
from lip_plugin.leaderboard.entry import Certificate, Origin, Proved
from lip_plugin.leaderboard.tables import legend
from lip_plugin.leaderboard.words import caption

E = 36 / 255


def entry(
    name: str, proved: dict[float, float], *, dataset: str = "cifar10", clean: float = 0.9, **other: object
) -> Entry:
    rest: dict[str, object] = {"certificate": Certificate.CLAIMED, "origin": Origin.REPORT, "whole": True} | other
    shares = {eps: Proved(share) for eps, share in proved.items()}
    return Entry(name=name, dataset=dataset, method="m", source="s", clean=clean, proved=shares, **rest)  # type: ignore[arg-type]


def test_one_table_per_data_set_measured_ones_first() -> None:
    reported = entry("r", {E: 0.9}, dataset="a_set", origin=Origin.PUBLISHED)
    tables = make_tables([entry("x", {E: 0.5}, dataset="z"), reported, entry("y", {E: 0.5}, dataset="b")])
    assert [(table.dataset, [row.name for row in table.entries]) for table in tables] == [
        ("b", ["y"]),
        ("z", ["x"]),
        ("a_set", ["r"]),
    ]
    assert make_tables([]) == []


def test_rows_stand_by_vra_at_the_standard_radius() -> None:
    rows = [
        entry("refuted", {E: 0.99}, certificate=Certificate.CONTRADICTED),
        entry("elsewhere", {0.5: 0.8}),
        entry("second", {E: 0.5, 0.5: 0.1}),
        entry("first", {E: 0.6, 0.5: 0.05}),
        entry("tied, less clean", {E: 0.4}, clean=0.6),
        entry("tied", {E: 0.4}, clean=0.7),
    ]
    for order in (rows, rows[::-1]):
        table, last = make_tables(order)
        assert table.standard_eps == E
        names = [row.name for row in (*table.entries, *last.entries)]
        assert names == ["first", "second", "tied", "tied, less clean", "elsewhere", "refuted"]


def test_another_radius_where_no_row_has_the_standard_one() -> None:
    rows = [entry("a", {0.5: 0.2, 1.0: 0.1}), entry("b", {0.5: 0.3, 2.0: 0.1})]
    assert make_tables(rows)[0].standard_eps == 0.5
    (table,) = make_tables([entry("a", {}, dataset="mnist")])
    assert (table.standard_eps, table.grid) == (None, ())


def test_columns_of_radii_ascend_whatever_is_sorted_by() -> None:
    rows = [
        entry("a", {1.0: 0.1, E: 0.5}, survived={0.5: {"attack": 0.6}}),
        entry("s", {0.25: 0.7, 1.0: 0.2, 0.1: 0.8}),
    ]
    (table,) = make_tables(rows)
    assert (table.standard_eps, table.grid) == (E, (0.1, E, 0.25, 0.5, 1.0))
    vra = [column.key for column in table.columns if column.kind == "proved"]
    assert vra == ["vra@0.1", "vra@36/255", "vra@0.25", "vra@1"]


def test_rows_without_the_radius_follow_unranked_by_the_smallest_that_they_have() -> None:
    rows = [
        entry("refuted", {1.0: 0.9}, certificate=Certificate.CONTRADICTED),
        entry("nothing proved", {}, clean=1.0),
        entry("large radius", {1.0: 0.6}),
        entry("small radius", {0.25: 0.7, 1.0: 0.1}),
        entry("worst", {0.25: 0.3, 0.5: 0.29}),
        entry("ranked", {E: 0.01}),
    ]
    for order in (rows, rows[::-1]):
        table, last = make_tables(order)
        names = [row.name for row in (*table.entries, *last.entries)]
        assert names == ["ranked", "small radius", "large radius", "worst", "nothing proved", "refuted"]
        assert table.unranked == 4
        assert "sorted by VRA at 36/255; partial runs, and rows without that radius, follow, not ranked." in caption(
            table
        )


def test_the_caption_speaks_of_unranked_rows_only_where_there_are_any() -> None:
    refuted = entry("refuted", {1.0: 0.9}, certificate=Certificate.CONTRADICTED)
    table, last = make_tables([entry("a", {E: 0.5}), refuted])
    assert table.unranked == last.unranked == 0
    assert "not ranked" not in caption(table)


def test_partial_runs_stand_below_whatever_they_reach() -> None:
    rows = [
        entry("32 images", {E: 0.99, 0.5: 0.9}, whole=False, images=32),
        entry("8 images", {0.5: 1.0}, whole=False, images=8),
        entry("whole", {E: 0.1}),
        entry("whole, elsewhere", {1.0: 0.05}),
        entry("refuted", {E: 1.0}, certificate=Certificate.CONTRADICTED),
    ]
    for order in (rows, rows[::-1]):
        table, last = make_tables(order)
        names = [row.shown_name for row in (*table.entries, *last.entries)]
        assert names == ["whole", "whole, elsewhere", "32 images (n=32)", "8 images (n=8)", "refuted"]
        assert table.unranked == 3
        assert "4 claimed; sorted by VRA at 36/255; partial runs" in caption(table)


def test_own_images_are_not_ranked_and_partial_runs_do_not_choose_the_radius() -> None:
    (table,) = make_tables([entry("a", {0.5: 0.5}, dataset="own images", whole=False, images=3)])
    assert caption(table).endswith(". 1 claimed; not ranked. L2, accuracies in percent.")
    parts = [entry(name, {0.1: 0.9}, dataset="mnist", whole=False, images=5) for name in "abc"]
    (table,) = make_tables([entry("whole", {0.5: 0.2}, dataset="mnist"), *parts])
    assert table.standard_eps == 0.5


def test_columns_that_say_nothing_are_left_out() -> None:
    (table,) = make_tables([entry("a", {E: 0.5})])
    assert [column.key for column in table.columns] == ["name", "clean", "vra@36/255", "certificate", "origin"]


CERTIFICATES = st.sampled_from(list(Certificate))
SHARES = st.dictionaries(st.sampled_from([E, 0.25, 0.5, 1.0]), st.sampled_from([0.1, 0.4, 0.4001, 0.9]), max_size=3)


@given(st.lists(st.tuples(CERTIFICATES, SHARES, st.booleans(), st.sampled_from(["cifar10", "mnist"])), max_size=12))
def test_no_row_without_a_proof_stands_among_proofs(
    rows: list[tuple[Certificate, dict[float, float], bool, str]],
) -> None:
    """However they are mixed: each row once, by its own word, and in each table best first."""
    entries = [
        entry(str(at), shares, certificate=kind, whole=whole, dataset=dataset)
        for at, (kind, shares, whole, dataset) in enumerate(rows)
    ]
    tables = make_tables(entries)
    assert sorted(row.name for table in tables for row in table.entries) == sorted(row.name for row in entries)
    for table in tables:
        words = {row.certificate.value for row in table.entries}
        if table.title.endswith(", proved"):
            assert words <= {"sound", "claimed sound"}
        else:
            assert not words & {"sound", "claimed sound"}
        assert {row.dataset for row in table.entries} == {table.dataset}
        standing = [row for row in table.entries if row.whole and row.certificate is not Certificate.CONTRADICTED]
        ranked = [row.proved[table.standard_eps].share for row in standing if table.standard_eps in row.proved]
        assert ranked == sorted(ranked, reverse=True)
    assert len({table.title for table in tables}) == len(tables)


def test_the_legend_has_the_words_that_occur() -> None:
    tables = make_tables([entry("a", {E: 0.5}), entry("b", {E: 0.5}, certificate=Certificate.ESTIMATED)])
    assert [word for word, _ in legend(tables)] == ["claimed sound", "estimated", "claimed, report"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.669, "66.9"),
        (0.7411, "74.11"),
        (0.81, "81.0"),
        (1.0, "100.0"),
        (0.0, "0.0"),
        (374 / 512, "73.05"),
        (1e-9, "0.0"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert shown.percent(share) == text


@pytest.mark.parametrize(
    ("params", "text"),
    [(0, "0"), (999, "999"), (820_107, "820 k"), (1_901_003, "1.9 M"), (83_000_000, "83 M"), (999_600, "1 M"),
     (999_999_999, "1 B"), (2_000_000_000, "2 B"), (10**13, "10,000 B")],
)  # fmt: skip
def test_size(params: int, text: str) -> None:
    assert shown.size(params) == text
