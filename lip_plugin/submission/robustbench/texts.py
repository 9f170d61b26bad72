"""What a card says, as RobustBench's files hold it: it puts their values into its page as they are."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard


def stated(text: str | None) -> str:
    """What a card says, without the space around it; empty where it says nothing."""
    return (text or "").strip()


def paper_title(card: ModelCard) -> str:
    """The paper that the card names, else the model: boards list papers.

    A model that is ``based_on`` somebody's paper is not theirs: they must not be credited, or blamed, with its figures.
    """
    based_on = stated(card.based_on)
    return f"{card.name}, based on {based_on}" if based_on else stated(card.paper) or card.name


def venue(card: ModelCard) -> str:
    """RobustBench's own word where there is none."""
    return stated(card.venue) or "Unpublished"


def web_link(card: ModelCard) -> str:
    """The card's link where a page may hold it, else an empty string."""
    link = (card.link or "").strip()
    if not link.isprintable() or set(link) & set(" \"'<>\\|`"):
        return ""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme in ("http", "https") and parts.netloc else ""


def in_html(text: str) -> str:
    """One line that shows as it is where a page takes it for markup."""
    return html.escape(printable(" ".join(text.split())), quote=True)


def percent(share: float) -> str:
    """``"83.68"``: an accuracy as RobustBench writes one."""
    return str(round(100 * share, 2))


def percent_at_least(count: int, images: int) -> str:
    """Two digits, never more than the share: for what is proved."""
    hundredths = 10_000 * count // images
    return f"{hundredths // 100}.{hundredths % 100:02d}"
