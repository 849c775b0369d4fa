"""The API of the demo, through a real uvicorn on loopback."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.demo.conftest import Demo


def test_every_endpoint_is_there(demo: Demo) -> None:
    """Each endpoint of the plan stands in the OpenAPI document, with its method."""
    paths = demo.get("/openapi.json")["paths"]
    wanted = """
        GET /health, GET /health/metrics, POST /health/gc, DELETE /health/cache/{name}, GET /api/memory-stats,
        POST /api/allocate, POST /api/leak, POST /api/cleanup, GET /api/memory/health, GET /api/memory/metrics,
        GET /api/memory/leak-detection, POST /api/memory/gc, POST /api/memory/emergency-cleanup, GET /metrics,
        GET /api/leaks, PUT /api/leaks/{name}, GET /api/items, GET /api/users, POST /api/sessions
    """
    pairs = [pair.split() for pair in wanted.split(",")]

    assert [(method, path) for method, path in pairs if method.lower() not in paths.get(path, {})] == []


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/metrics", "/api/memory-stats", "/api/memory/health", "/api/memory/metrics", "/api/leaks"],
)
def test_page_answers_with_json(demo: Demo, path: str) -> None:
    """What only tells answers with 200 and an object."""
    assert isinstance(demo.get(path), dict)


def test_health_has_its_fields(demo: Demo) -> None:
    """The fields of /api/memory/health are those that dashboards are written for."""
    health = demo.get("/api/memory/health")

    assert {"status", "currentUsage", "trend", "gcStats", "recommendations"} <= health.keys()
    assert {"heapUsed", "heapTotal", "usagePercentage", "platform"} <= health["currentUsage"].keys()
    trend = {"timeWindow", "averageUsage", "peakUsage", "growthRate", "isIncreasing", "leakSuspected"}
    assert trend <= health["trend"].keys()
    assert {"totalCollections", "efficiency", "averageDuration"} <= health["gcStats"].keys()
    assert health["status"] == "healthy"
    assert health["currentUsage"]["heapTotal"] == 2 * 2**30


def test_metrics_are_those_of_prometheus(demo: Demo) -> None:
    """GET /metrics answers in the text format, with the memory of the process in it."""
    answer = demo.ask("GET", "/metrics")

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"\nmemory_heap_used_bytes " in answer.body


@pytest.mark.parametrize("path", ["/health/gc", "/api/memory/gc", "/api/memory/emergency-cleanup", "/api/cleanup"])
def test_deed_is_done(demo: Demo, path: str) -> None:
    """What frees memory says what it did."""
    assert demo.post(path)


def test_items_are_added_found_and_deleted(demo: Demo) -> None:
    """An item is there once it was added, found by a part of its name, and gone once it was deleted."""
    item = demo.post("/api/items", {"name": "Samovar 100%", "cents": 9900})
    found = demo.get("/api/items?q=OVAR%20100%25&limit=1")["items"]
    cached = [demo.get(f"/api/items/{item['id']}") for _ in range(2)]
    deleted = [demo.ask("DELETE", f"/api/items/{item['id']}").status for _ in range(2)]

    assert (found, cached, deleted) == ([item], [item, item], [200, 404])
    assert demo.ask("GET", f"/api/items/{item['id']}").status == 404


def test_session_lives_until_it_is_ended(demo: Demo) -> None:
    """A session belongs to a user, and is gone once it was ended."""
    user = demo.post("/api/users", {"name": "Katherine"})
    session = demo.post("/api/sessions", {"user": user["id"]})

    assert demo.get(f"/api/users/{user['id']}") == user
    assert demo.get(f"/api/sessions/{session['id']}") == session
    assert demo.ask("DELETE", f"/api/sessions/{session['id']}").status == 200
    assert demo.ask("GET", f"/api/sessions/{session['id']}").status == 404


def test_cache_is_cleared_by_name(demo: Demo) -> None:
    """The entries of a cache are counted when it is cleared; another name is 404, and says which there are."""
    demo.get("/api/items/7")
    cleared = demo.ask("DELETE", "/health/cache/items")
    unknown = demo.ask("DELETE", "/health/cache/../../etc")

    assert (cleared.status, cleared.json["name"]) == (200, "items")
    assert cleared.json["cleared"] >= 1
    assert unknown.status == 404
    missing = demo.ask("DELETE", "/health/cache/nobody")
    assert (missing.status, "there are: items" in missing.json["error"]) == (404, True)


def test_allocation_is_held_and_released(demo: Demo) -> None:
    """What was allocated is there, and gone after a clean-up."""
    demo.post("/api/allocate", {"bytes": 5_000_000, "hold": 60})
    held = demo.get("/api/memory-stats")["allocated"]
    released = demo.post("/api/cleanup")["bytes"]

    assert (held, released, demo.get("/api/memory-stats")["allocated"]) == (5_000_000, 5_000_000, 0)


def test_leak_runs_as_often_as_asked(demo: Demo) -> None:
    """POST /api/leak keeps as many things as it is told to; a clean-up releases them."""
    held = demo.post("/api/leak", {"name": "module-list", "count": 250})["held"]
    released = demo.post("/api/cleanup")["released"]

    assert (held, released, demo.get("/api/memory-stats")["held"]) == (250, 250, {})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/api/allocate", {"bytes": 10 * 2**40}, 422, "bytes = 10995116277760 must be from 1 to 67108864"),
        ("POST", "/api/allocate", {"bytes": -1}, 422, "bytes = -1 must be from 1"),
        ("POST", "/api/allocate", {"bytes": 0}, 422, "bytes = 0 must be from 1"),
        ("POST", "/api/allocate", {"bytes": "many"}, 422, "bytes must be a whole number, not 'many'"),
        ("POST", "/api/allocate", {"bytes": 1, "hold": -1}, 422, "hold = -1 must be from 0 to 60"),
        ("POST", "/api/allocate", [1], 422, "the body must be an object"),
        ("POST", "/api/allocate", {}, 422, "the body needs the key 'bytes'"),
        ("POST", "/api/leak", {"name": "nothing"}, 422, "name = 'nothing' must be one of module-list"),
        ("POST", "/api/leak", {"name": "thread", "count": 10**9}, 422, "count = 1000000000 must be from 1 to 10000"),
        ("PUT", "/api/leaks/nothing", {"mode": "leaky"}, 404, "there is no leak 'nothing'; there are: module-list"),
        ("PUT", "/api/leaks/thread", {"mode": "on"}, 422, "mode = 'on' must be one of off, leaky, fixed"),
        ("POST", "/api/items", {"name": "x" * 81, "cents": 1}, 422, "name must have 1 to 80 characters, not 81"),
        ("POST", "/api/sessions", {"user": 2**63 - 1}, 404, "there is no user 9223372036854775807"),
        ("GET", "/api/items/9223372036854775808", None, 422, "item = 9223372036854775808 must be from 1"),
        ("GET", "/api/items?limit=-1", None, 422, "limit = -1 must be from 1 to 100"),
        ("GET", "/api/items?limit=1&limit=2", None, 422, "limit is given 2 times"),
        ("GET", "/api/items?sort=name", None, 422, "there is no parameter 'sort' here; there are: q, limit"),
        ("GET", "/api/nothing", None, 404, "Not Found"),
        ("POST", "/api/snapshot", {"name": "../../x"}, 400, "../../x"),
    ],
)
def test_wrong_value_is_a_clear_refusal(  # noqa: PLR0913, PLR0917 - a row of the table
    demo: Demo, method: str, path: str, body: object, status: int, words: str
) -> None:
    """What does not fit is 4xx, and the text says what would."""
    answer = demo.ask(method, path, body)

    assert answer.status == status
    assert words in answer.json["error"]
    assert demo.get("/health")["status"] == "healthy"


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b'{"bytes": NaN}', 400, "NaN is not JSON"),
        (b"[" * 60_000, 400, "the body is not JSON: too deep"),
        (b'{"bytes": ' + b"9" * 6000 + b"}", 400, "the body is not JSON"),
        (b" " * (64 * 1024 + 1), 413, "at most 65536 bytes"),
    ],
)
def test_broken_body_is_a_clear_refusal(demo: Demo, raw: bytes, status: int, words: str) -> None:
    """A body that is no JSON, or too large, is 4xx."""
    answer = demo.ask("POST", "/api/allocate", raw=raw)

    assert answer.status == status
    assert words in answer.json["error"]


def test_other_content_type_is_refused(demo: Demo) -> None:
    """A form is no JSON."""
    assert demo.ask("POST", "/api/allocate", raw=b"bytes=1", Content_Type="text/plain").status == 415


def test_other_method_is_refused(demo: Demo) -> None:
    """405 names the methods of the whole path."""
    answer = demo.ask("PATCH", "/api/items")

    assert answer.status == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


def test_client_that_goes_away_does_no_harm(demo: Demo) -> None:
    """A client that announces a body and hangs up leaves the service as it was."""
    with socket.create_connection(("127.0.0.1", demo.port), timeout=10) as half:
        half.sendall(
            b"POST /api/allocate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )

    assert demo.get("/health")["status"] == "healthy"


def test_snapshot_is_written_into_its_folder(demo: Demo) -> None:
    """A snapshot has the name that was asked for, and cannot be written twice."""
    answer = demo.post("/api/snapshot", {"name": "before"})

    assert answer["name"].startswith("before")
    assert answer["bytes"] > 0
    assert demo.ask("POST", "/api/snapshot", {"name": "before"}).status == 409


def test_events_tell_everything_that_a_dashboard_shows(demo: Demo) -> None:
    """The first event comes at once, and holds all parts."""
    with socket.create_connection(("127.0.0.1", demo.port), timeout=10) as stream, stream.makefile("rb") as lines:
        stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        event = next(line for line in lines if line.startswith(b"data: "))

    parts = {
        "health", "pressure", "gc", "caches", "requests", "switches", "verdict", "judgedSince", "guarded", "limit",
        "intervalSeconds", "readings", "shed", "bounds", "routes",
    }  # fmt: skip
    assert json.loads(event.removeprefix(b"data: ")).keys() == parts


def test_front_page_is_there(demo: Demo) -> None:
    """GET / answers with the dashboard, which may be framed by nobody."""
    answer = demo.ask("GET", "/")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
