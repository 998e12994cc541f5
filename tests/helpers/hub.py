"""A stand-in for the Hugging Face hub on loopback: the routes that huggingface_hub and llama.cpp use, and its faults.

Files are under a second name of this host, as the real hub keeps them on a CDN. That one refuses a token, as S3 does.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE = 3
"""Files on a page of a listing; the real hub has 1000."""
_JSON = {"Content-Type": "application/json", "X-HF-Warning": "token; a sentence that huggingface_hub logs"}


@dataclass
class Repo:
    """A repository: files by commit, commits by branch."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    token: str | None = None

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Makes these the files of a branch; its new commit."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode() + branch.encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.branches[branch] = digest
        return digest


@dataclass(frozen=True)
class Request:
    """What was asked of the stand-in."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class StandIn:
    """The hub.

    Attributes:
        endpoint: what HF_ENDPOINT has to name.
        repos: `OWNER/REPO` → repository.
        requests: all so far.
        breaks: of the next transfers, after how many bytes each connection is cut; None leaves one whole.
        refuse: whether a request is refused: with which status, and which headers.
        ranges: whether the CDN knows ranges.
        before_bytes: called before the bytes of each transfer are sent.
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    breaks: list[int | None] = field(default_factory=list)
    refuse: Callable[[Request], tuple[int, dict[str, str]] | None] = lambda request: None
    ranges: bool = True
    before_bytes: Callable[[], object] = lambda: None

    def repo(self, name: str, files: Mapping[str, bytes]) -> Repo:
        """A new repository with one commit."""
        self.repos[name] = Repo()
        self.repos[name].commit(files)
        return self.repos[name]

    def transfers(self) -> list[Request]:
        """The requests for files' contents."""
        return [each for each in self.requests if each.method == "GET" and each.path.startswith("/cdn/")]


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """The stand-in, for as long as the context lasts."""
    hub = StandIn()

    class Handler(_Handler):
        stand_in = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.stand_in
        request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        hub.requests.append(request)
        if refused := hub.refuse(request):
            self._json(refused[0], {"error": "refused by the test"}, refused[1])
            return
        address = urlsplit(self.path)
        path, query = address.path, parse_qs(address.query)
        if found := re.fullmatch(r"/cdn/(\w+)", path):
            self._content(found[1])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/([^/]+))?)?", path):
            self._api(found[1], found[2], unquote(found[3] or "main"), query)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        else:
            self._json(404, {"error": "no such route"})

    def _open(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and its files; None if an error was sent."""
        repo = self.stand_in.repos.get(name)
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if token and repo and repo.token not in (None, token):
            self._json(401, {"error": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.token and not repo.gated and token != repo.token):  # so that nobody can tell
            self._json(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif (commit := repo.branches.get(revision, revision)) not in repo.commits:
            self._json(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return commit, repo.commits[commit]
        return None

    def _api(self, name: str, kind: str | None, revision: str, query: dict[str, list[str]]) -> None:
        if not (found := self._open(name, revision)):
            return
        commit, files = found
        if kind == "refs":
            branches = self.stand_in.repos[name].branches
            listed = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": c} for b, c in branches.items()]
            self._json(200, {"branches": listed, "tags": [], "converts": []})
        elif kind == "tree":
            first = int(query.get("cursor", ["0"])[0])
            page = list(files)[first : first + PAGE] if "llama" not in self.headers["user-agent"] else list(files)
            more = first + PAGE < len(files)
            rest = f"{self.stand_in.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={first + PAGE}"
            entries = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}]
            entries += [_entry(path, files[path]) for path in page]
            self._json(200, entries, {"Link": f'<{rest}>; rel="next"'} if more else {})
        else:
            siblings = [{"rfilename": path} for path in files]
            self._json(200, {"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if not (found := self._open(name, revision)):
            return
        commit, files = found
        repo = self.stand_in.repos[name]
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if repo.gated and token != repo.token:
            self._json(403 if token else 401, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
        elif path not in files:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            digest, data = hashlib.sha256(files[path]).hexdigest(), files[path]
            here = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(data)), "Accept-Ranges": "bytes"}
            port = urlsplit(self.stand_in.endpoint).port
            there = f"http://localhost:{port}/cdn/{digest}?file={quote(path)}&Signature=x"
            self._send(302, b"", {**here, "X-Linked-Etag": f'"{digest}"', "Location": there})

    def _content(self, digest: str) -> None:
        if self.headers.get("authorization"):
            self._json(400, {"error": "Only one auth mechanism allowed"})
            return
        hub = self.stand_in
        every = (data for repo in hub.repos.values() for files in repo.commits.values() for data in files.values())
        data = next(each for each in every if hashlib.sha256(each).hexdigest() == digest)
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes" if hub.ranges else "none"}
        status, start = 200, 0
        if hub.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))):
            status, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = None
        if self.command == "GET":
            hub.before_bytes()
            cut = hub.breaks.pop(0) if hub.breaks else None
        self._send(status, data[start:], headers, cut)

    def _json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {**_JSON, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(body if cut is None else body[:cut])
            self.wfile.flush()
            if cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
        except OSError:  # the client has gone
            self.close_connection = True


def _entry(path: str, data: bytes) -> dict[str, object]:
    size = len(data)
    sha256 = hashlib.sha256(data).hexdigest()
    lfs = {"oid": sha256, "size": size, "pointerSize": 134}
    return {"type": "file", "path": path, "size": size, "oid": hashlib.sha1(data).hexdigest(), "lfs": lfs}
