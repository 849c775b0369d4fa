"""What to send and when: the section ``[load]``."""

from __future__ import annotations

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.load.profile import LoadSpec, Route

PLACE = "shop.toml: [load]"


def spec(**keys: object) -> LoadSpec:
    """Return the load of a section."""
    return LoadSpec.from_mapping({"url": "http://127.0.0.1:8000"} | keys, PLACE)


def test_routes_as_text_and_tables() -> None:
    """A route is a path, a method and a path, or a table."""
    routes = spec(routes=["/a", "POST /b", {"path": "/c", "weight": 3, "expect": [404]}]).routes

    assert routes == (Route("/a"), Route("/b", "POST"), Route("/c", weight=3, expect=(404,)))


def test_routes_as_weights() -> None:
    """A table of weights by path is enough for a mix."""
    assert spec(routes={"/a": 3, "DELETE /b": 1}).routes == (Route("/a", weight=3), Route("/b", "DELETE"))


def test_the_mix_is_whole() -> None:
    """A route gets the URL before its path, and the headers and the body of all that it has not itself."""
    load = spec(
        url="http://h/api/", headers={"A": "1", "B": "1"}, body="x", routes=[{"path": "/a", "headers": {"B": "2"}}]
    )

    assert load.mix == (Route("http://h/api/a", name="GET /a", headers=(("A", "1"), ("B", "2")), body="x"),)


@pytest.mark.parametrize(
    ("url", "path"), [("http://h", "http://h/"), ("http://h/x?y=1", "http://h/x?y=1"), ("http://h/#a", "http://h/")]
)
def test_no_routes(url: str, path: str) -> None:
    """Without routes the URL itself is asked for."""
    assert [route.path for route in LoadSpec(url).mix] == [path]


def test_a_body_that_is_a_table() -> None:
    """A table is sent as JSON, and says so in its header."""
    load = spec(body={"id": "{{n}}"}, method="POST")

    assert (load.body, load.headers) == ('{"id": "{{n}}"}', (("Content-Type", "application/json"),))


def test_arrivals_over_the_ramp_up() -> None:
    """The rate grows evenly, then stays: half the requests of a ramp-up come in its last third."""
    due = list(spec(rate=10, duration_s=4, ramp_up_s=2).arrivals())

    assert (sum(at < 1 for at in due), sum(1 <= at < 2 for at in due), sum(2 <= at < 3 for at in due)) == (3, 7, 10)
    assert due == sorted(due)
    assert len(due) == 30


def test_arrivals_end_with_the_requests() -> None:
    """No more come due than were asked for."""
    assert len(list(spec(rate=10, requests=5).arrivals())) == 5


def test_connections_join_over_the_ramp_up() -> None:
    """In the closed model connections begin one after the other."""
    load = spec(connections=4, ramp_up_s=2)

    assert [load.joins_s(number) for number in range(4)] == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize(("duration_s", "ramp_s"), [(60, 5), (50, 5), (10, 1)])
def test_the_ramp_up_that_nobody_chose(duration_s: float, ramp_s: float) -> None:
    """It is a tenth of the run, at most 5 s."""
    assert spec(duration_s=duration_s).ramp_s == ramp_s


def test_a_password_is_not_shown() -> None:
    """The URL of results and messages has no name and no password."""
    assert LoadSpec("http://me:secret@h:1/x").public_url == "http://h:1/x"


def test_the_url_comes_later() -> None:
    """A scenario can say its load before it knows where the service is."""
    assert LoadSpec.from_mapping({"rate": 5}).at("http://h:1") == LoadSpec("http://h:1", rate=5)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"rat": 1}, "rat is not a setting of a load; did you mean 'rate'?"),
        ({"rate": 0}, "rate = 0 is not a number above 0 up to 1,000,000"),
        ({"rate": float("nan")}, "rate = nan is not a number above 0 up to 1,000,000"),
        ({"rate": True}, "rate = True is not a number above 0 up to 1,000,000"),
        ({"connections": 0}, "connections = 0 is not a whole number from 1 to 10000"),
        ({"connections": 10_001}, "connections = 10001 is not a whole number from 1 to 10000"),
        ({"duration_s": "60"}, "duration_s = '60' is not a number above 0"),
        ({"duration_s": 3, "ramp_up_s": 4}, "ramp_up_s = 4 is longer than duration_s = 3"),
        ({"url": "ftp://h"}, "url = 'ftp://h' is not the URL of a service"),
        ({"url": "http://h:99999"}, "url = 'http://h:99999' is not a URL (Port out of range 0-65535)"),
        ({"url": "http://h/?a=1", "routes": ["/b"]}, "has a query; write it into the paths of the routes"),
        ({"routes": 3}, "routes = 3 is not a list of routes"),
        ({"routes": [{"weight": 3}]}, "routes[0] = {'weight': 3} is not a route; it needs a path"),
        ({"routes": [{"path": "/a", "wieght": 3}]}, "routes[0].wieght is not a setting of a route; did you mean 'weig"),
        ({"routes": ["/a", {"path": "/a", "weight": -1}]}, "routes[1].weight = -1 is not a number above 0"),
        ({"routes": ["a"]}, "routes[0].path = 'a' is not a path; write one that starts with '/'"),
        ({"routes": ["/{{id}}"]}, "routes[0].path = '/{{id}}' has {{id}}, which is none of n, random, time, uuid"),
        ({"headers": {"a b": "c"}}, "headers['a b'] is not the name of a header"),
        ({"headers": {"A": "b\nC: d"}}, "headers['A'] = 'b\\nC: d' is not a header's text, which is one line"),
        ({"method": "GTE"}, "method = 'GTE' is none of 'GET', 'POST'"),
        ({"engine": "locst"}, "engine = 'locst' is none of 'builtin', 'locust', 'command'; did you mean 'locust'?"),
        ({"engine": "locust"}, "engine = 'locust' needs locust, the path of the Python that has Locust"),
        ({"engine": "command"}, "engine = 'command' needs command, the program and its arguments"),
    ],
)
def test_what_cannot_be(keys: dict[str, object], says: str) -> None:
    """A wrong value is refused with file, section, key and what would be right."""
    with pytest.raises(ConfigError) as refused:
        spec(**keys)

    assert str(refused.value).startswith(PLACE)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_in_python() -> None:
    """A value that was given in Python is checked as well."""
    with pytest.raises(ConfigError, match="LoadSpec: connections = 0 is not a whole number"):
        LoadSpec("http://h", connections=0)
