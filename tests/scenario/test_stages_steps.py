"""The steps of a baseline: read from a scenario, or the usual ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.load.profile import Route
from pytest_memguard.scenario.spec import Scenario
from pytest_memguard.scenario.steps import StepSpec, steps_of

SERVICE = {"command": ["python", "app.py"], "ready_url": "http://127.0.0.1:8000/"}


def scenario(**sections: Any) -> Scenario:  # noqa: ANN401 - whatever TOML has
    """Return a scenario with these sections."""
    return Scenario.from_mapping({"service": SERVICE, **sections})


def test_usual_steps_follow_the_routes_of_the_load() -> None:
    """Without tables: idle, the import, a first request, each route, all at once, and what is left."""
    served = {**SERVICE, "command": ["uvicorn", "shop.app:make()", "--port", "8000"]}
    found = steps_of(scenario(service=served, load={"routes": ["/a", "POST /b"], "connections": 20}))
    a, b = Route("/a"), Route("/b", "POST")

    assert found == (
        StepSpec("idle", idle_s=1.0),
        StepSpec("import", module="shop.app"),
        StepSpec("first request", 1, routes=(a,)),
        StepSpec("GET /a", routes=(a,)),
        StepSpec("POST /b", routes=(b,)),
        StepSpec("20 at once", 200, 20, routes=(a, b)),
        StepSpec("after collecting", collect=True),
    )


def test_a_url_alone_is_asked_at_its_root() -> None:
    """Without a load the root of the ready URL is asked; nothing is imported where no application is named."""
    assert [step.name for step in steps_of(scenario())] == [
        "idle", "first request", "GET /", "8 at once", "after collecting",
    ]  # fmt: skip


def test_tables_say_what_is_done() -> None:
    """Each table is a step, named after what it does where it has no name."""
    tables = [
        {"idle_s": 0.5},
        {"import": "shop.app"},
        {"route": "POST /b", "times": 7},
        {"name": "rush", "routes": "all", "times": 50, "connections": 5},
        {"collect": True},
    ]

    assert steps_of(scenario(load={"routes": ["/a"]}, step=tables)) == (
        StepSpec("idle", idle_s=0.5),
        StepSpec("shop.app", module="shop.app"),
        StepSpec("POST /b", 7, routes=(Route("/b", "POST"),)),
        StepSpec("rush", 50, 5, routes=(Route("/a"),)),
        StepSpec("after collecting", collect=True),
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rout": "/a"}, "step[0].rout is not a setting of a step; did you mean 'route'?"),
        ({"name": "x"}, "step[0] does nothing; write idle_s, import, route, routes, collect"),
        ({"idle_s": 1, "collect": True}, "step[0] has idle_s and collect; write one of them"),
        ({"route": "/a", "times": 0}, "step[0].times = 0 is not a whole number from 1 to 10000000"),
        ({"route": "/a", "times": 10**7 + 1}, "is not a whole number from 1 to 10000000"),
        ({"route": "/a", "connections": True}, "step[0].connections = True is not a whole number from 1 to 10000"),
        ({"idle_s": -1}, "step[0].idle_s = -1 is not a number of seconds from 0 to 86400"),
        ({"idle_s": 1, "times": 3}, "step[0].times is for steps with a route, and this has idle_s"),
        ({"import": "shop app"}, "step[0].import = 'shop app' is not the name of a module, as in 'shop.app'"),
        ({"route": "items"}, "step[0].route = 'items' is not a route"),
        ({"routes": []}, "step[0].routes = [] is not a list of routes; write 'all', or ['/items', 'POST /items']"),
        ({"collect": False}, "step[0].collect = False can be true only"),
        ({"name": " ", "collect": True}, "step[0].name = ' ' is not text of one line"),
    ],
)
def test_wrong_table_is_refused(table: dict[str, object], message: str) -> None:
    """What a table cannot say is refused with key, value and what would be right."""
    with pytest.raises(ConfigError) as caught:
        steps_of(scenario(step=[table]))
    assert message in str(caught.value)


def test_message_has_the_line(tmp_path: Path) -> None:
    """The file and the line are named."""
    file = tmp_path / "shop.toml"
    file.write_text(
        '[service]\ncommand = ["python"]\n\n[[step]]\nidle_s = 1\n\n[[step]]\nroute = "/a"\ntimes = "many"\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        steps_of(Scenario.load(file))
    assert str(caught.value).startswith("shop.toml:9: step[1].times = 'many' is not a whole number")


def test_names_differ() -> None:
    """Two steps of one name could not be compared."""
    with pytest.raises(ConfigError, match=r"step\[1\]\.name = '/a' is there twice; give it another"):
        steps_of(scenario(step=[{"route": "/a"}, {"route": "/a"}]))


def test_steps_have_an_end() -> None:
    """Fifty steps are the most."""
    tables = [{"name": str(number), "idle_s": 0} for number in range(51)]

    assert len(steps_of(scenario(step=tables[:50]))) == 50
    with pytest.raises(ConfigError, match="there are 51 steps; 50 is the most"):
        steps_of(scenario(step=tables))
