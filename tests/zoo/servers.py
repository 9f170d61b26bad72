"""A web server of files that can be told to misbehave, and one that speaks as the Hugging Face hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """``files`` by path; ``cut``: bytes after which a transfer of weights ends, once; ``asked``: path, Range.

    ``raw`` is sent instead of weights; ``pause``: seconds in the middle of them.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    cut: int | None = None
    redirect: str | None = None
    raw: bytes | None = None
    pause: float = 0.0
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, "str | None"]])
    address: str = ""


class _Files(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        told: Server = self.server.told
        begun = self.headers.get("Range")
        told.asked.append((self.path, begun))
        if told.redirect is not None:
            self.send_response(302)
            self.send_header("Location", told.redirect)
            self.end_headers()
            return
        content = told.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if told.raw is not None and "safetensors" in self.path:
            self.wfile.write(told.raw)
            return
        start = int(begun.removeprefix("bytes=").rstrip("-")) if begun else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        whole, told.cut = content[start : told.cut], None if len(content) > 5000 else told.cut
        if "safetensors" in self.path:
            self.wfile.write(whole[:1000])
            time.sleep(told.pause)
            whole = whole[1000:]
        self.wfile.write(whole)


@dataclass
class Hub:
    """Repositories by name, each a list of commits: file -> content. ``requests`` are methods and paths."""

    repositories: dict[str, list[dict[str, bytes]]] = field(default_factory=dict[str, "list[dict[str, bytes]]"])
    requests: list[str] = field(default_factory=list[str])
    address: str = ""

    def commit(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Its id and files; a revision is main or an id."""
        for number, files in reversed(list(enumerate(self.repositories.get(repository, ())))):
            if revision in ("main", _id(repository, number)):
                return _id(repository, number), files
        return None


def _id(repository: str, number: int) -> str:
    return hashlib.sha1(f"{repository}/{number}".encode()).hexdigest()


class _Hub(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self, value: Any, code: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, what: str) -> None:
        self._answer(
            {"error": f"{what} not found"}, 404, X_Error_Code=f"{what}NotFound", X_Error_Message=f"{what} not found"
        )

    def _commit(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        hub: Hub = self.server.told
        hub.requests.append(f"{self.command} {self.path}")
        found = hub.commit(repository, revision)
        if found is None:
            self._missing("Revision" if repository in hub.repositories else "Repo")
        return found

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if api := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(/.*)?", path):
            if (found := self._commit(api[1], api[3] or "main")) is not None:
                sizes = [
                    {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}
                    for name, content in found[1].items()
                ]
                siblings = [{"rfilename": name} for name in found[1]]
                info = {"id": api[1], "modelId": api[1], "sha": found[0], "siblings": siblings, "private": False}
                self._answer(sizes if api[2] == "tree" else {**info, "tags": [], "downloads": 0, "likes": 0})
        elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if (found := self._commit(file[1], file[2])) is None:
                return
            content = found[1].get(file[3])
            if content is None:
                self._missing("Entry")
            else:
                self._answer(content, ETag=f'"{_blob(content)}"', X_Repo_Commit=found[0])
        else:
            self._missing("Path")

    def do_POST(self) -> None:
        hub: Hub = self.server.told
        hub.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer letmein":
            self._answer({"error": "Invalid username or password."}, 401)
            return
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            hub.repositories.setdefault(name, [])
            self._answer({"url": f"{hub.address}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            lines = [json.loads(line) for line in body.splitlines()]
            added = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            commits = hub.repositories[match[1]]
            commits.append({**(commits[-1] if commits else {}), **added})
            sha = _id(match[1], len(commits) - 1)
            self._answer({"commitUrl": f"{hub.address}/{match[1]}/commit/{sha}", "commitOid": sha, "success": True})
        else:
            self._missing("Path")


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def running(told: Server | Hub) -> Generator[None]:
    """While the block runs, on a free port of this machine; ``told.address`` is its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files if isinstance(told, Server) else _Hub) as server:
        server.told = told  # pyright: ignore[reportAttributeAccessIssue]
        told.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
