"""Scenario files: what is read from them, and what is said of wrong ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.scenario.example import EXAMPLE
from pytest_memguard.scenario.places import json_lines, toml_lines
from pytest_memguard.scenario.spec import Diagnose, Scenario, ServiceSpec

WHOLE = """
name = "shop"
[service]
command = "python -m shop --port 8000"
env = { LEVEL = "info", WORKERS = 2, DEBUG = true }
cwd = "."
ready_url = "http://127.0.0.1:8000/health"
ready_timeout_s = 5
memory_limit = "300 MiB"
stop_timeout_s = 2
[idle]
duration_s = 1
[warm_up]
duration_s = 2
[load]
rate = 50
duration_s = 30
routes = ["/", "POST /items"]
[diagnose]
when = "always"
duration_s = 3
frames = 4
[cool_down]
duration_s = 4
trim = false
[sampling]
interval_s = 0.5
collect = false
[thresholds]
abort_after_s = 7
limits = ["growth<64B/request", { limit = "rss<300MiB", abort_after_s = 1 }]
[[step]]
name = "first"
"""


def written(tmp_path: Path, text: str, name: str = "shop.toml") -> Path:
    """Write a file, and return its path."""
    path = tmp_path / name
    path.write_text(text)
    return path


def test_load(tmp_path: Path) -> None:
    """Every key of every section arrives."""
    scenario = Scenario.load(written(tmp_path, WHOLE))

    assert scenario.services == (
        ServiceSpec(
            ("python", "-m", "shop", "--port", "8000"),
            env=(("LEVEL", "info"), ("WORKERS", "2"), ("DEBUG", "true")),
            cwd=str(tmp_path / "."),
            ready_url="http://127.0.0.1:8000/health",
            ready_timeout_s=5,
            memory_limit_bytes=300 * 2**20,
            stop_timeout_s=2,
        ),
    )
    assert (scenario.name, scenario.idle_s, scenario.warm_up_s, scenario.cool_down_s) == ("shop", 1, 2, 4)
    assert (scenario.trim, scenario.interval_s, scenario.collect) == (False, 0.5, False)
    assert scenario.diagnose == Diagnose("always", 3, 4)
    assert scenario.load_spec is not None
    assert (scenario.load_spec.rate, len(scenario.load_spec.routes)) == (50, 2)
    assert [(one.text, one.abort_after_s) for one in scenario.limits] == [("growth<64B/request", 7), ("rss<300MiB", 1)]
    assert scenario.steps == ({"name": "first"},)
    assert scenario.url == "http://127.0.0.1:8000/"


def test_defaults() -> None:
    """A command is enough: then the service is watched for a minute."""
    scenario = Scenario.from_mapping({"service": {"command": ["a"]}})

    assert (scenario.load_spec, scenario.idle_s, scenario.warm_up_s, scenario.url) == (None, 60, 0, "")


def test_example(tmp_path: Path) -> None:
    """What --init writes is a scenario."""
    scenario = Scenario.load(written(tmp_path, EXAMPLE))

    assert (scenario.name, scenario.service.command[0], len(scenario.limits)) == ("shop", sys.executable, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[service]\ncommand = 'a'\ncomand = 2\n", "shop.toml:3: service.comand is not a setting; did you mean 'comm"),
        ("[service]\ncommand = []\n", "shop.toml:2: service.command = [] is not a program and its arguments"),
        ("[servce]\n", "shop.toml:1: servce is not a section of a scenario; did you mean 'service'?"),
        ("[idle]\n", "shop.toml: there is no service; write [service] with command = [...]"),
        ("[service]\ncwd = '.'\n", "shop.toml:1: service.command is missing"),
        ("[service]\ncommand = 'a'\ncwd = 'nowhere'\n", "shop.toml:3: service.cwd = 'nowhere' is no folder that exist"),
        ("[service]\ncommand = 'a'\n\n[load]\nrate = -3\n", "shop.toml:5: [load] rate = -3 is not a number above 0"),
        ("[service]\ncommand = 'a'\n[load]\nrats = 3\n", "shop.toml:4: [load] rats is not a setting of a load; did yo"),
        ("[service]\ncommand = 'a'\n[idle]\nduration_s = inf\n", "shop.toml:4: idle.duration_s = inf is not a number"),
        ("[service]\ncommand = 'a'\n[idle]\nduration_s = true\n", "shop.toml:4: idle.duration_s = True is not a numb"),
        ("[service]\ncommand = 'a'\n[diagnose]\nwhen = 'nver'\n", "shop.toml:4: diagnose.when = 'nver' is none of"),
        ("[service]\ncommand = 'a'\n[thresholds]\nlimits = ['x<1']\n", "shop.toml:4: thresholds.limits[0]: 'x<1' is n"),
        ("[service]\ncommand = 'a'\nmemory_limit = '0'\n", "shop.toml:3: service.memory_limit = '0' is no limit"),
        ("[service]\ncommand = '${NOWHERE_SET}'\n", "shop.toml:2: the variable NOWHERE_SET is not set; set it, or wr"),
        ("[service]\ncommand = 'a\n", "shop.toml:2: not valid TOML"),
        ("[service]\ncommand = 'a'\n[[service]]\n", "shop.toml:3: not valid TOML"),
        ("[[service]]\ncommand = 'a'\n[[service]]\ncomand = 'b'\n", "shop.toml:4: service[1].comand is not a setting"),
        ("[service]\ncommand = 'a'\nenv = { A = [] }\n", "shop.toml:3: service.env = {'A': []} has A = []"),
        ("step = 3\n[service]\ncommand = 'a'\n", "shop.toml:1: step = 3 is not a list of tables"),
        ("name = 'a/b'\n[service]\ncommand = 'a'\n", "shop.toml:1: name = 'a/b' is not a name that can be part of"),
    ],
)
def test_wrong(tmp_path: Path, text: str, message: str) -> None:
    """One line names file, line, key and value."""
    with pytest.raises(ConfigError) as caught:
        Scenario.load(written(tmp_path, text))

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is said to be, with how to get one."""
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); `memguard soak --init`"):
        Scenario.load(tmp_path / "none.toml")


def test_placeholders() -> None:
    """Variables are filled in, numbers where numbers belong; free ports and the interpreter need not be set."""
    mapping = {
        "service": {
            "command": ["${MEMGUARD_PYTHON}", "${MEMGUARD_PORT}", "${MEMGUARD_PORT}", "${MEMGUARD_PORT_2}", "$${A}"],
            "env": {"RATE": "${RATE}"},
        },
        "load": {"url": "http://${HOST:-127.0.0.1}/", "rate": "${RATE}", "keep_alive": "${ALIVE:-false}"},
    }

    scenario = Scenario.from_mapping(mapping, environ={"RATE": "12.5"})

    python, port, again, other, literal = scenario.service.command
    assert (python, literal, port) == (sys.executable, "${A}", again)
    assert port != other
    assert scenario.service.env == (("RATE", "12.5"),)
    assert scenario.load_spec is not None
    assert (scenario.load_spec.url, scenario.load_spec.rate) == ("http://127.0.0.1/", 12.5)
    assert scenario.load_spec.keep_alive is False


def test_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios stand in pyproject.toml too, by name; messages have the line there."""
    file = written(
        tmp_path,
        "[tool.memguard.scenario.one.service]\ncommand = 'a'\n"
        "[tool.memguard.scenario.two.service]\ncommand = 'b'\n"
        "[tool.memguard.scenario.wrong.service]\ncommand = 'b'\nx = 1\n",
        "pyproject.toml",
    )
    monkeypatch.chdir(tmp_path)

    assert Scenario.load(f"{file}#two").service.command == ("b",)
    assert Scenario.load("one").name == "one"
    with pytest.raises(ConfigError, match=r"pyproject.toml:7: service.x is not a setting"):
        Scenario.load("wrong")
    with pytest.raises(ConfigError, match=r"give one, as in pyproject.toml#one; there are: one, two, wrong"):
        Scenario.load(file)
    with pytest.raises(ConfigError, match=r"'tow' is no scenario; did you mean 'two'\?"):
        Scenario.load("tow")


def test_json(tmp_path: Path) -> None:
    """A JSON configuration with the sections monitor and loadTest is a scenario."""
    text = """{"monitor": {"command": "python a.py", "readyUrl": "http://127.0.0.1:1/", "interval": 1,
      "thresholds": ["rss<1GiB"]}, "other": 1,
     "loadTest": {"url": "http://127.0.0.1:1/x", "concurrency": 3, "duration": 20,
      "rampUp": 2}}"""

    scenario = Scenario.load(written(tmp_path, text, "memguard.json"))

    assert (scenario.service.command, scenario.interval_s, len(scenario.limits)) == (("python", "a.py"), 1, 1)
    assert scenario.load_spec is not None
    assert (scenario.load_spec.connections, scenario.load_spec.ramp_up_s) == (3, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"monitor":\n {"comand": "a"}}', "a.json:2: monitor.comand is not a setting; did you mean 'command'?"),
        (
            '{"monitor": {"command": "a"}, "loadTest": {"url": "http://a/",\n"concurrency": 0}}',
            "a.json:2: [load] connections = 0 is not a whole number",
        ),
        ('{"monitor": \n', "a.json:2: not valid JSON"),
        ("[1]", "a.json: a JSON configuration needs a section monitor or loadTest"),
        ('{"monitor": 3}', "a.json:1: monitor = 3 is not an object"),
    ],
)
def test_wrong_json(tmp_path: Path, text: str, message: str) -> None:
    """The same holds of JSON."""
    with pytest.raises(ConfigError) as caught:
        Scenario.load(written(tmp_path, text, "a.json"))

    assert str(caught.value).startswith(message)


def test_several_services() -> None:
    """Services have their names from their tables; the first is the one that is loaded."""
    scenario = Scenario.from_mapping(
        {"service": {"api": {"command": "a", "ready_url": "http://h:1/x"}, "worker": {"command": "b", "agent": False}}}
    )

    assert [(one.name, one.agent) for one in scenario.services] == [("api", True), ("worker", False)]
    assert scenario.url == "http://h:1/"


def test_hash() -> None:
    """It tells what is measured: not which port was free, nor what the limits are; but the load and the command."""
    base = {
        "service": {"command": ["a", "${MEMGUARD_PORT}"], "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/"},
        "load": {"rate": 5, "url": "http://127.0.0.1:${MEMGUARD_PORT}/"},
    }
    same = {**base, "name": "other", "thresholds": {"limits": ["errors<1%"]}}
    load = {**base, "load": {"rate": 6}}
    command = {**base, "service": {**base["service"], "command": ["b"]}}  # type: ignore[dict-item]

    one, equal, *others = (Scenario.from_mapping(mapping).hash for mapping in (base, same, load, command))

    assert one == equal
    assert len({one, *others}) == 3


def test_toml_lines() -> None:
    """Tables, keys, dotted keys and entries of lists are found, and nothing within long strings."""
    text = 'a.b = """\n[x]\ny = 1\n"""\n[t]\n"q r" = { i = 1, j = 2 }\n[[l]]\nk = 1\n[[l]]\nk = 2\n[l.m]\nn = 1\n'

    assert toml_lines(text) == {
        ("a", "b"): 1,
        ("t",): 5,
        ("t", "q r"): 6,
        ("t", "q r", "i"): 6,
        ("t", "q r", "j"): 6,
        ("l", 0): 7,
        ("l", 0, "k"): 8,
        ("l", 1): 9,
        ("l", 1, "k"): 10,
        ("l", 1, "m"): 11,
        ("l", 1, "m", "n"): 12,
    }


def test_json_lines() -> None:
    """Keys are found with the objects that they are in."""
    lines = json_lines('{"a":\n {"b": "x:y",\n "c": [1, {"d": 2}]},\n "e": 1}')

    assert {path: lines[path] for path in [("a",), ("a", "b"), ("a", "c"), ("e",)]} == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("e",): 4,
    }
