"""Baselines of a real service: what it takes and keeps, step by step, and what is said where that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import stages
from pytest_memguard.scenario.footprint import Footprint
from pytest_memguard.scenario.spec import Scenario

pytest.importorskip("aiohttp", reason="load needs the extra [harness]")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need a POSIX system")

SHOP = '''
"""A shop that keeps 1 KiB of each order, opens a file at each /open, and fails at /broken."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ORDERS = []
TABLE = [bytes(1000) for _ in range(1000)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: two would wait 40 ms for each other

    def do_GET(self):
        if self.path == "/orders":
            ORDERS.append(bytes(1024))
        if self.path == "/open":
            ORDERS.append(open(__file__))
        if self.path == "/end":
            os._exit(3)
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the shop."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    return folder


def scenario(folder: Path, *steps: Mapping[str, Any], **service: Any) -> Scenario:  # noqa: ANN401 - as TOML has it
    """Return a scenario of the shop."""
    command = ["${MEMGUARD_PYTHON}", "shop.py", "${MEMGUARD_PORT}"]
    ready = "http://127.0.0.1:${MEMGUARD_PORT}/"
    content = {"command": command, "cwd": str(folder), "ready_url": ready, "ready_timeout_s": 20, **service}
    return Scenario.from_mapping({"name": "shop", "service": content, "step": list(steps)})


def measured(scenario: Scenario, runs: int = 1) -> Footprint:
    """Return its footprint."""
    return stages.measure(scenario, runs=runs, environment={"python": "3.13.0"})


@pytest.fixture(scope="module")
def footprint(folder: Path) -> Footprint:
    """Return the footprint of the shop over each kind of step."""
    return measured(
        scenario(
            folder,
            {"idle_s": 0.1},
            {"import": "shop"},
            {"name": "warm", "route": "/", "times": 5},
            {"name": "orders", "route": "/orders", "times": 50, "connections": 2},
            {"name": "files", "route": "/open", "times": 7},
            {"name": "nothing", "route": "/", "times": 20},
            {"collect": True},
        )
    )


def amount(footprint: Footprint, step: str, metric: str) -> float:
    """Return the median of one amount."""
    (found,) = [one for one in footprint.steps if one.name == step]
    return found.after[metric].median


def test_steps_come_in_order(footprint: Footprint) -> None:
    """The footprint has the steps of the scenario."""
    assert [step.name for step in footprint.steps] == [
        "idle", "shop", "warm", "orders", "files", "nothing", "after collecting",
    ]  # fmt: skip
    assert footprint.scenario == "shop"


def test_kept_bytes_are_those_that_stay(footprint: Footprint) -> None:
    """Fifty orders keep fifty KiB and their headers; requests that keep nothing keep nothing."""
    assert 50 * 1024 <= amount(footprint, "orders", "kept") < 80 * 1024
    assert abs(amount(footprint, "nothing", "kept")) < 4 * 1024


def test_import_is_measured_alone(footprint: Footprint) -> None:
    """The table of the module, a thousand times 1000 bytes, is kept by its import; the service is not asked."""
    assert 1_000_000 <= amount(footprint, "shop", "kept") < 12_000_000
    assert amount(footprint, "shop", "rss") > 8_000_000


def test_open_files_are_counted(footprint: Footprint) -> None:
    """Seven files that stay open are seven descriptors more."""
    assert amount(footprint, "files", "fds") - amount(footprint, "orders", "fds") == 7


def test_every_amount_is_there(footprint: Footprint) -> None:
    """What a step takes and what it keeps is in the footprint of each."""
    expected = {"rss", "fds", "threads", "blocks", "kept", "kept_blocks"}
    for step in footprint.steps:
        assert expected <= set(step.after), step.name


def test_nothing_is_left_running(footprint: Footprint, folder: Path) -> None:
    """After a measurement no process of the service is there."""
    assert [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)] == []


def test_runs_have_a_range(folder: Path) -> None:
    """Each run starts the service anew, and the range of all runs is kept."""
    found = measured(scenario(folder, {"idle_s": 0}), runs=2)
    rss = found.steps[0].after["rss"]

    assert found.runs == 2
    assert rss.low <= rss.median == (rss.low + rss.high) / 2


def test_service_without_agent_is_read_from_outside(folder: Path) -> None:
    """A service that is no Python has no blocks and nothing kept, and still a footprint."""
    (step,) = measured(scenario(folder, {"idle_s": 0}, agent=False)).steps

    assert {"rss", "fds", "threads"} <= set(step.after)
    assert not {"blocks", "heap", "kept"} & set(step.after)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"route": "/broken", "times": 5}, r"^/broken: 5 of 5 requests failed \(status 500: 5\)$"),
        ({"route": "/end", "times": 2}, r"^/end: .* ended with exit code 3"),
        ({"import": "no_such_module"}, r"^import no_such_module: it ended with exit code 1: ModuleNotFoundError"),
    ],
)
def test_what_fails_is_said(folder: Path, step: dict[str, object], message: str) -> None:
    """A step that does not work ends the measurement, with the step and the reason; nothing is left running."""
    with pytest.raises(CouldNotRun, match=message):
        measured(scenario(folder, step))
    assert [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)] == []


def test_import_that_does_not_end_is_ended(folder: Path) -> None:
    """A module that never comes back is given up after the time of the service, and its process with it."""
    (folder / "endless.py").write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    with pytest.raises(CouldNotRun, match=r"^import endless: it did not end within 1\.0 s$"):
        measured(scenario(folder, {"import": "endless"}, ready_timeout_s=1.0))


def test_without_a_url_nothing_can_be_asked(folder: Path) -> None:
    """A step with a route says what is missing where nobody knows the URL."""
    quiet = {"command": [sys.executable, "-c", "import time; time.sleep(60)"], "cwd": str(folder)}
    asked = Scenario.from_mapping({"service": quiet, "step": [{"route": "/"}]})
    with pytest.raises(CouldNotRun, match=r"^/: nobody knows where to ask; write url into \[load\], or ready_url$"):
        measured(asked)


def test_interpreter_of_a_command(tmp_path: Path) -> None:
    """A module is imported by the service's own interpreter: its first word, or the one beside its program."""
    program = tmp_path / "uvicorn"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)

    assert stages._interpreter(["/opt/env/bin/python3.12", "app.py"]) == "/opt/env/bin/python3.12"
    assert stages._interpreter([str(program), "app:app"]) == sys.executable
    (tmp_path / "python").touch()
    assert stages._interpreter([str(program), "app:app"]) == str(tmp_path / "python")
