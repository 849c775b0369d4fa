"""What the endpoints answer, whichever server asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.service import endpoints
from pytest_memguard.service.endpoints import answer, bearer, may_ask, shed, within
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.settings import GuardSettings

TOKEN = "0123456789abcdef"  # noqa: S105 - the shortest one that is allowed
HERE = "127.0.0.1"


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    """Return a guard that is not started, with a cache of two entries."""
    settings = GuardSettings(token=TOKEN, allowed_peers=("10.0.0.0/8",), snapshot_dir=str(tmp_path))
    guard = Guard(settings)
    users = guard.caches.create("users", size=10)
    users["a"] = users["b"] = 1
    guard.caches.create("empty")
    return guard


def _ask(guard: Guard, method: str, path: str, query: str = "", body: bytes = b"") -> tuple[int, Any]:
    response = answer(guard, method, path, query, token=TOKEN.encode(), peer=HERE, body=body)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("token", "peer", "may"),
    [
        (TOKEN, HERE, True),
        (TOKEN, "::1", True),
        (TOKEN, "10.2.3.4", True),
        (TOKEN, "11.2.3.4", False),
        (TOKEN, None, False),
        ("", HERE, False),
        (TOKEN[:-1], HERE, False),
        (TOKEN + "0", HERE, False),
        (TOKEN.upper(), HERE, False),
    ],
)
def test_who_may_ask(guard: Guard, token: str, peer: str | None, may: bool) -> None:  # noqa: FBT001 - a column
    """The token and the peer must both be right; for others no endpoint exists, not even a forbidden one."""
    response = answer(guard, "GET", "/health", token=token.encode(), peer=peer)

    assert may_ask(guard, token.encode(), peer) is may
    assert response.status == (200 if may else 404)
    assert may or response == endpoints.not_found()


@pytest.mark.parametrize("token", ["", "None"])
def test_without_a_token_there_are_no_endpoints(token: str) -> None:
    """Where no token is set, none is right."""
    assert not may_ask(Guard(GuardSettings()), token.encode(), HERE)


def test_tokens_are_compared_in_constant_time(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, also where the peer is wrong already."""
    compared = []
    monkeypatch.setattr(endpoints.hmac, "compare_digest", lambda one, other: compared.append((one, other)))
    may_ask(guard, b"x", "8.8.8.8")

    assert compared == [(TOKEN.encode(), b"x")]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", b"abc"),
        (b"bearer abc", b"abc"),
        ("BEARER  abc ", b"abc"),
        ("Basic abc", b""),
        ("abc", b""),
        ("Bearer", b""),
        ("", b""),
        (None, b""),
        ("Bearer \u00e9\u20ac", b"\xe9?"),
    ],
)
def test_bearer(header: str | bytes | None, token: bytes) -> None:
    """The token stands behind the word Bearer, however that is written, and anything else is none."""
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/memguard/health", "/health"),
        ("/memguard", ""),
        ("/memguard/", "/"),
        ("/memguardian", None),
        ("/memguar", None),
        ("/x/memguard/health", None),
    ],
)
def test_within_the_prefix(path: str, rest: str | None) -> None:
    """A prefix ends where a segment does."""
    assert within("/memguard", path) == rest


def test_no_prefix_has_nothing_within() -> None:
    """An empty prefix turns the endpoints off."""
    assert within("", "/health") is None


def test_health(guard: Guard) -> None:
    """The state is that of the guard."""
    status, health = _ask(guard, "GET", "/health")

    assert (status, health["status"]) == (200, "healthy")
    assert health["currentUsage"]["platform"] == "default"


def test_metrics(guard: Guard) -> None:
    """The metrics are text for Prometheus."""
    response = answer(guard, "GET", "/metrics", token=TOKEN.encode(), peer=HERE)

    assert response.status == 200
    assert dict(response.headers)[b"Content-Type"].startswith(b"text/plain; version=")
    assert b"\nmemory_heap_used_bytes" in response.body


def test_leak_detection(guard: Guard) -> None:
    """A guard that has not read anything yet says that it needs more, with names as in JavaScript."""
    status, detection = _ask(guard, "GET", "/leak-detection")

    assert (status, detection["verdict"]) == (200, "needs_data")
    assert {"confidence", "perRequest", "timeToLimitSeconds", "recommendations"} <= detection.keys()


def test_gc(guard: Guard) -> None:
    """A collection says what it freed and how long it took."""
    status, answered = _ask(guard, "POST", "/gc")

    assert (status, answered["status"]) == (200, "healthy")
    assert answered["outcome"]["durationSeconds"] > 0
    assert answered["outcome"]["error"] is None


def test_emergency_cleanup(guard: Guard) -> None:
    """All that frees memory is done, and told."""
    status, answered = _ask(guard, "POST", "/emergency-cleanup")

    assert (status, answered["status"]) == (200, "healthy")
    assert len(answered["outcomes"]) > 1
    assert len(guard.caches.get("users")) == 0


def test_list_of_caches(guard: Guard) -> None:
    """Each cache is there with its statistics."""
    status, answered = _ask(guard, "GET", "/caches/")

    assert status == 200
    assert [(cache["name"], cache["entries"], cache["size"]) for cache in answered["caches"]] == [
        ("users", 2, 10),
        ("empty", 0, 1000),
    ]


def test_clear_one_cache(guard: Guard) -> None:
    """Only the named cache is cleared."""
    guard.caches.get("empty")["x"] = 1

    assert _ask(guard, "DELETE", "/caches/users") == (200, {"cache": "users", "cleared": 2})
    assert len(guard.caches.get("empty")) == 1


def test_clear_all_caches(guard: Guard) -> None:
    """Without a name all are cleared."""
    guard.caches.get("empty")["x"] = 1

    assert _ask(guard, "DELETE", "/caches") == (200, {"cleared": 3})


@pytest.mark.parametrize("name", ["nobody", "../users", "users/x", "\x00", "x" * 5000])
def test_unknown_cache(guard: Guard, name: str) -> None:
    """A cache that is not there is a 404, in a few words."""
    status, answered = _ask(guard, "DELETE", f"/caches/{name}")

    assert status == 404
    assert answered["error"].startswith("there is no cache")
    assert len(answered["error"]) < 120


class _Written:
    """Stands in for the writer of snapshots."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.error: Exception | None = None

    def __call__(self, path: Path) -> None:
        if self.error is not None:
            raise self.error
        self.names.append(path.name)
        path.write_bytes(b"12345")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> _Written:
    """Return what takes the place of the walk through the heap."""
    writer = _Written()
    monkeypatch.setattr(heap, "write", writer, raising=False)
    return writer


@pytest.mark.parametrize(
    ("query", "body"), [("name=before.1", b""), ("", b'{"name": "before.1"}'), ("name=x", b' {"name": "before.1"} ')]
)
def test_snapshot(guard: Guard, written: _Written, query: str, body: bytes) -> None:
    """The name comes from the query or the body; the answer names the file and not its folder."""
    status, answered = _ask(guard, "POST", "/snapshot", query, body)

    assert (status, answered) == (200, {"name": "before.1", "file": "before.1.heapsnapshot", "bytes": 5})


def test_snapshot_without_a_name(guard: Guard, written: _Written) -> None:
    """A snapshot that nobody names is named by the time."""
    status, _ = _ask(guard, "POST", "/snapshot")

    assert status == 200
    assert written.names[0].startswith("snapshot-2")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/b",
        "a\\b",
        "..",
        ".",
        ".hidden",
        "a..b",
        "-x",
        "%2e%2e",
        "a b",
        "a\n",
        "a\x00",
        "é",
        "C:x",
        "x" * 65,
    ],
)
def test_unsafe_name(guard: Guard, written: _Written, name: str) -> None:
    """A name that could leave the folder, or hide in it, is refused before anything is written."""
    status, answered = _ask(guard, "POST", "/snapshot", body=json.dumps({"name": name}).encode())

    assert (status, written.names) == (400, [])
    assert "letters, digits" in answered["error"]


def test_longest_name(guard: Guard, written: _Written) -> None:
    """A name of 64 characters is not too long."""
    assert _ask(guard, "POST", "/snapshot", f"name={'x' * 64}")[0] == 200


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileExistsError(17, "exists", "/secret/a"), "there is a snapshot 'a' already"),
        (PermissionError(13, "Permission denied", "/secret/a"), "the snapshot could not be written: Permission denied"),
        (CouldNotRun("the child that writes it died"), "the child that writes it died"),
    ],
)
def test_snapshot_that_fails(guard: Guard, written: _Written, error: Exception, text: str) -> None:
    """A snapshot that cannot be written is a conflict, which says why and not where."""
    written.error = error

    assert _ask(guard, "POST", "/snapshot", "name=a") == (409, {"error": text})


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"name"', b"\xff\xfe", b'{"name": 1}', b'{"name": null}', b"[" * 4096, b"nul", b'{"name": ["x"]}'],
)
def test_malformed_body(guard: Guard, written: _Written, body: bytes) -> None:
    """A body that is no object of text is refused."""
    status, answered = _ask(guard, "POST", "/snapshot", body=body)

    assert (status, written.names) == (400, [])
    assert answered["error"].startswith("the body ")


@pytest.mark.parametrize(("fields", "status"), [(8, 200), (9, 400)])
def test_number_of_fields(guard: Guard, written: _Written, fields: int, status: int) -> None:
    """A query of eight fields is read, and one of more is not."""
    query = "&".join(["name=a", *(f"f{number}=1" for number in range(fields - 1))])

    assert _ask(guard, "POST", "/snapshot", query)[0] == status


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/health/x", "/caches/../health", "//health", "/HEALTH"])
def test_unknown_endpoint(guard: Guard, path: str) -> None:
    """What is not there is not found, for those who may ask as for others."""
    response = answer(guard, "GET", path, token=TOKEN.encode(), peer=HERE)

    assert response.status in {404, 405}
    assert path == "/caches/../health" or response == endpoints.not_found()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", b"GET"),
        ("GET", "/gc", b"POST"),
        ("PUT", "/caches", b"DELETE, GET"),
        ("GET", "/caches/users", b"DELETE"),
        ("A\r\nB: c", "/snapshot", b"POST"),
    ],
)
def test_wrong_method(guard: Guard, method: str, path: str, allowed: bytes) -> None:
    """A method that an endpoint does not take is refused, with those that it takes."""
    response = answer(guard, method, path, token=TOKEN.encode(), peer=HERE)

    assert (response.status, dict(response.headers)[b"Allow"]) == (405, allowed)
    assert response.reason == "405 Method Not Allowed"


def test_what_nobody_thought_of(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside the guard is logged, and the client learns nothing of it."""
    monkeypatch.setattr(guard, "health", lambda: 1 / 0)
    status, answered = _ask(guard, "GET", "/health")

    assert (status, answered) == (500, {"error": "memguard could not answer; the log of the service says why"})
    assert "ZeroDivisionError" in caplog.text


def test_numbers_that_json_does_not_know(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no finite number is null: a strict reader must be able to read the answer."""
    monkeypatch.setattr(guard, "health", lambda: {"rate": float("nan"), "left": float("inf"), "all": (1, True, None)})

    assert _ask(guard, "GET", "/health") == (200, {"rate": None, "left": None, "all": [1, True, None]})


@pytest.mark.parametrize("path", ["/health", "/nothing", "/gc"])
def test_no_answer_is_kept(guard: Guard, path: str) -> None:
    """No cache on the way may keep an answer, and no browser guess what it is."""
    headers = dict(answer(guard, "GET", path, token=TOKEN.encode(), peer=HERE).headers)

    assert (headers[b"Cache-Control"], headers[b"X-Content-Type-Options"]) == (b"no-store", b"nosniff")


@pytest.mark.parametrize(("wait_s", "header"), [(0.2, b"1"), (5.0, b"5"), (5.1, b"6")])
def test_answer_to_who_is_turned_away(wait_s: float, header: bytes) -> None:
    """Who is turned away learns when to come back, in whole seconds, at least one."""
    response = shed("emergency", wait_s)

    assert (response.status, response.reason) == (503, "503 Service Unavailable")
    assert dict(response.headers)[b"Retry-After"] == header
    assert json.loads(response.body) == {
        "error": "short of memory, please try again later",
        "status": "emergency",
        "retryAfter": int(header),
    }
