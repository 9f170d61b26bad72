"""``https://host/folder``: a model directory on a web server, with ``#sha256=...`` of its card where that is known."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lip_plugin.errors import CheckpointError, ChecksumError, ConfigError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE, write_atomically
from lip_plugin.untrusted import printable
from lip_plugin.version import __version__
from lip_plugin.zoo.card import LARGEST_CARD, ModelCard, parse_card
from lip_plugin.zoo.stores.store import (
    Store,
    alone,
    cache_folder,
    is_kept,
    is_offline,
    kept_place,
    put,
    shown_address,
    unwritable,
)

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**20
_BYTES_PER_PARAMETER, _HEADER = 8, 2**24
_INTERRUPTIONS = (http.client.HTTPException, OSError)


@dataclass(frozen=True)
class _Address:
    """``url`` of a folder, without a slash at its end; ``card`` is the SHA-256 of its card, "" where nobody says."""

    url: str
    card: str

    @classmethod
    def of(cls, text: str) -> _Address:
        """Raises ConfigError."""
        url, _, pinned = text.partition("#")
        digest = re.fullmatch(r"sha256=([0-9a-f]{64})", pinned)
        host = re.match(r"https?://[^/?#@\s]+(?=[/?#]|$)", url)
        if host is None or (pinned and digest is None):
            raise ConfigError(
                f"{printable(shown_address(text), longest=200)!r} is no address of a model; "
                f"give https://host/folder, with #sha256= and the 64 digits of its {CARD_FILE} where they are known"
            )
        return cls(url.removesuffix(f"/{CARD_FILE}").rstrip("/"), "" if digest is None else digest[1])

    @property
    def shown(self) -> str:
        return shown_address(self.url)

    def file(self, name: str) -> str:
        path, mark, query = self.url.partition("?")
        return f"{path}/{name}{mark}{query}"


class HttpsStore(Store):
    """Files of any web server. What a card says its weights hash to is checked; the card itself where that is pinned.

    A transfer that was cut off goes on where it ended. With neither network nor pin the card is the one seen last.
    """

    scheme = "https"

    def fetch(self, place: str) -> Path:
        address = self._address(f"{self.scheme}:{place}")
        known = address.card or (_last_seen(address) if is_offline() else "")
        if known and is_kept(cache_folder() / "models" / known):
            return cache_folder() / "models" / known
        if is_offline():
            raise ConfigError(
                f"{address.shown} is not in {cache_folder()}, and this is offline; fetch it once with network"
            )
        content = _card_bytes(address)
        card, found = parse_card(content, shown_address(address.file(CARD_FILE))), kept_place(content)
        if is_kept(found) and _last_seen(address) == found.name:
            return found
        with alone(card.sha256):
            if not is_kept(found):
                self._put(address, content, card, found)
            _note(address, found.name)
        return found

    def _put(self, address: _Address, content: bytes, card: ModelCard, place: Path) -> None:
        weights = cache_folder() / "begun" / card.sha256
        limit = _BYTES_PER_PARAMETER * card.params + _HEADER
        _download(address.file(WEIGHTS_FILE), weights, limit=limit)
        try:
            put(place, content, card, weights, address.shown)
        finally:  # what is complete and wrong is no beginning of anything
            weights.unlink(missing_ok=True)

    def _address(self, text: str) -> _Address:
        return _Address.of(text)


class HttpStore(HttpsStore):
    """Without encryption anybody on the way can change a card: its hash has to be said."""

    scheme = "http"

    def _address(self, text: str) -> _Address:
        address = _Address.of(text)
        if not address.card:
            raise ConfigError(
                f"{address.shown} is not encrypted; use https, or add #sha256= and the digits of its {CARD_FILE}"
            )
        return address


def _card_bytes(address: _Address) -> bytes:
    url = address.file(CARD_FILE)
    shown = shown_address(url)
    with _opened(url) as answer, _interruptions(url):
        content = answer.read(LARGEST_CARD + 1)
    if content.lstrip().startswith(b"<"):
        raise CheckpointError(f"{shown} is a web page, no card; give the address of the folder that holds {CARD_FILE}")
    if len(content) > LARGEST_CARD:
        raise CheckpointError(f"{shown} has more than {LARGEST_CARD} bytes; no card does")
    digest = hashlib.sha256(content).hexdigest()
    if address.card not in ("", digest):
        raise ChecksumError(f"{shown} has sha256 {digest}, expected {address.card}; nothing was kept")
    return content


def _download(url: str, to: Path, *, limit: int) -> None:
    """The file, from where an earlier transfer ended. Raises CheckpointError, ConfigError."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        begun = to.stat().st_size if to.exists() else 0
    except OSError as error:
        raise unwritable(error) from error
    with _opened(url, begun=begun) as answer:
        if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # it is all there; its hash will say of what
        if answer.status != http.client.PARTIAL_CONTENT:
            begun = 0
        length = answer.headers.get("Content-Length", "")
        whole = begun + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        if (whole or 0) > limit:
            raise CheckpointError(f"{shown_address(url)} has {whole} bytes; its card accounts for {limit} at most")
        try:
            with to.open("ab" if begun else "wb") as file:
                _copy(answer, file, url, limit, begun)
        except OSError as error:
            raise unwritable(error) from error
    size = to.stat().st_size
    if whole is not None and size < whole:
        raise _cut_off(url, f"{size} of {whole} bytes are here")


def _copy(answer: IO[bytes], file: IO[bytes], url: str, limit: int, begun: int) -> None:
    while True:
        with _interruptions(url):
            chunk = answer.read(_CHUNK)
        if not chunk:
            return
        begun += len(chunk)
        if begun > limit:
            raise CheckpointError(f"{shown_address(url)} has more than the {limit} bytes that its card accounts for")
        file.write(chunk)


def _cut_off(url: str, reason: object) -> CheckpointError:
    return CheckpointError(
        f"{shown_address(url)}: the transfer was cut off ({reason}); the same command goes on where it ended"
    )


@contextmanager
def _interruptions(url: str) -> Generator[None]:
    try:
        yield
    except _INTERRUPTIONS as error:
        raise _cut_off(url, type(error).__name__) from error


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """No redirection leaves encryption."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it is redirected to {shown_address(newurl)}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _opened(url: str, *, begun: int = 0) -> Generator[Any]:
    """The answer of a server. Raises CheckpointError."""
    shown = shown_address(url)
    headers = {"User-Agent": f"lip-plugin/{__version__}", **({"Range": f"bytes={begun}-"} if begun else {})}
    opener = urllib.request.build_opener(_SameScheme())
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not begun:
            raise CheckpointError(f"{shown} cannot be fetched: the server says {error.code} {error.reason}") from error
        answer = error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = shown_address(str(getattr(error, "reason", None) or error or type(error).__name__))
        raise CheckpointError(f"{shown} cannot be fetched: {printable(reason, longest=200)}") from error
    with answer:
        yield answer


def _seen(address: _Address) -> Path:
    return cache_folder() / "seen" / f"{hashlib.sha256(address.url.encode()).hexdigest()}.json"


def _note(address: _Address, card: str) -> None:
    try:
        _seen(address).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_seen(address), json.dumps({"url": address.shown, "card": card}).encode())
    except OSError as error:
        raise unwritable(error) from error


def _last_seen(address: _Address) -> str:
    """ "" where there was none."""
    try:
        found: Any = json.loads(_seen(address).read_bytes())
        card = found["card"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return card if re.fullmatch(r"[0-9a-f]{64}", str(card)) else ""
