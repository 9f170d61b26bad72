"""Every published figure that is shipped: in range, consistent, sourced, and never called sound."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lip_plugin.leaderboard.entry import Certificate, Entry, Origin
from lip_plugin.leaderboard.published import PublishedPaper, entries_of_paper, published_entries, published_papers

ENTRIES = published_entries()
DATASETS = {"cifar10", "cifar100", "tiny_imagenet", "imagenet", "mnist"}


def key(entry: Entry) -> str:
    return f"{entry.dataset}-{entry.name}-{entry.source}"


@pytest.mark.parametrize("entry", ENTRIES, ids=key)
def test_figures_can_be(entry: Entry) -> None:
    assert entry.origin is Origin.PUBLISHED
    assert entry.dataset in DATASETS
    assert entry.method
    assert entry.source
    shares = [entry.proved[eps].share for eps in sorted(entry.proved)]
    assert shares == sorted(shares, reverse=True)
    highest = 1.0 if entry.clean is None else entry.clean
    assert 0 < shares[-1] <= shares[0] < highest
    assert all(0.1 < eps <= 2 for eps in entry.proved)
    assert all(0 < gap < 0.1 for eps in entry.survived if (gap := entry.gap_at(eps)) is not None)
    assert entry.params is None or 1e5 < entry.params < 1e10


def test_each_is_there_once() -> None:
    names = [key(entry) for entry in ENTRIES]
    assert sorted(set(names)) == sorted(names)
    assert len(published_papers()) > 15


def test_power_iteration_is_called_an_estimate_and_nothing_is_called_sound() -> None:
    for entry in ENTRIES:
        assert entry.certificate not in (Certificate.SOUND, Certificate.CONTRADICTED)
        assert ("power iteration" in entry.method) == (entry.certificate is Certificate.ESTIMATED)


def paper(**of_the_model: Any) -> dict[str, Any]:
    model = {"name": "net", "dataset": "cifar10", "certified": {"36/255": 40.0}, "source": "table"}
    return {
        "schema": "lip-published/1",
        "paper": "Nobody (never)",
        "link": "https://example.org/paper",
        "certificate": "not stated",
        "method": "none",
        "models": [{**model, **of_the_model}, model],
    }


def test_a_models_link_wins_over_the_papers() -> None:
    own, inherited = entries_of_paper(PublishedPaper.model_validate(paper(link="https://example.org/table")))
    assert (own.link, inherited.link) == ("https://example.org/table", "https://example.org/paper")
    for models_link in ("http://example.org", "javascript:alert(1)", "", 1):
        with pytest.raises(ValidationError, match=r"models\.0\.link"):
            PublishedPaper.model_validate(paper(link=models_link))
    with pytest.raises(ValidationError, match=r"models\.0\.url"):
        PublishedPaper.model_validate(paper(url="https://example.org"))


@pytest.mark.parametrize(
    ("dataset", "name", "clean", "certified"),
    [
        ("cifar10", "LiResNet++ + EDM data", 0.87, {36: 0.781, 72: 0.666, 108: 0.535}),
        ("imagenet", "BRONet + LA", 0.493, {36: 0.376, 72: 0.279, 108: 0.196}),
        ("cifar10", "BCOP, size L, 24 h", 0.7463, {36: 0.6145, 72: 0.4641, 108: 0.3323, 255: 0.0352}),
        ("cifar10", "AOL-Large", 0.714, {36: 0.641, 72: 0.565, 108: 0.494, 255: 0.238}),
    ],
)
def test_some_of_them_as_they_stand_in_their_tables(
    dataset: str, name: str, clean: float, certified: dict[int, float]
) -> None:
    (entry,) = (entry for entry in ENTRIES if (entry.dataset, entry.name) == (dataset, name))
    assert entry.clean == clean
    assert {eps: proved.share for eps, proved in entry.proved.items()} == {
        eps / 255: share for eps, share in certified.items()
    }
