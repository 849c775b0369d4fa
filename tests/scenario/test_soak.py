"""Soaks of small services from start to verdict."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_memguard.core import document
from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.scenario.soak import Outcome, SoakResult, soak
from pytest_memguard.scenario.spec import Scenario

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need unix sockets and signals")

SCRIPT = str(Path(__file__).with_name("answering.py"))


def mapping(mode: str, seconds: float = 2.4, **sections: object) -> dict[str, Any]:
    """Return a short scenario of the service for tests."""
    return {
        "name": mode,
        "service": {
            "command": ["${MEMGUARD_PYTHON}", SCRIPT, mode, "${MEMGUARD_PORT}"],
            "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/",
            "stop_timeout_s": 1,
        },
        "idle": {"duration_s": 0.1},
        "warm_up": {"duration_s": 0.3},
        "load": {"rate": 250, "duration_s": seconds, "connections": 4},
        "sampling": {"interval_s": 0.04},
        "diagnose": {"duration_s": 0.5},
        "cool_down": {"duration_s": 0.1},
        **sections,
    }


def soaked(mode: str, seconds: float = 2.4, **sections: object) -> SoakResult:
    """Soak it."""
    return soak(Scenario.from_mapping(mapping(mode, seconds, **sections)))


def test_leaky() -> None:
    """A kilobyte a request is a leak: by how much, where it is made and what makes it stand in the result."""
    notices: list[str] = []
    result = soak(Scenario.from_mapping(mapping("leaky")), notice=notices.append)
    one = result.result
    site = one.findings[0].sites[0]

    assert (result.outcome, result.exit_code(), one.kind) == (Outcome.LEAK, 1, "scenario")
    assert one.verdict.level is Level.LEAK
    assert result.processes[0].bytes_per_request == pytest.approx(1024 + 2 * 64, rel=0.2)
    assert (site.file.endswith("answering.py"), "bytearray(1024)" in site.source) == (True, True)
    assert [phase.name for phase in result.phases] == ["idle", "warm-up", "load", "diagnose", "cool-down"]
    assert notices[0].startswith("start service: ")
    assert notices[-1] == "stop"
    _check_document(result)


def _check_document(result: SoakResult) -> None:
    """See that the result is a session with one result, and survives being written and read."""
    read = document.loads(document.dumps(result.run))

    assert {"blocks", "heap", "rss", "requests"} <= {series.metric.name for series in read.results[0].timeline}
    assert read.results[0].verdict == result.result.verdict
    assert read.settings["scenario"]["load"]["completed"] == result.load.completed  # type: ignore[union-attr]


def test_repaired() -> None:
    """The repaired twin is clean for all the garbage it makes; nothing was traced, and limits are kept."""
    result = soaked("repaired", thresholds={"limits": ["growth<64B/request", "errors<1%", "rss<1GiB", "p(50)<5s"]})

    assert (result.outcome, result.exit_code(), result.broken) == (Outcome.CLEAN, 0, ())
    assert result.measured["growth"] == 0
    assert "diagnose" not in [phase.name for phase in result.phases]


def test_limit_not_kept() -> None:
    """A limit that is not kept fails a clean service, and ends the run where it shall."""
    limits = {"limits": [{"limit": "rss<1MiB", "abort_after_s": 0}]}
    result = soaked("repaired", 20, thresholds=limits)

    assert (result.outcome, result.exit_code()) == (Outcome.LIMIT, 1)
    assert result.result.duration_s < 10
    assert result.result.verdict.reason.startswith("it was ended: rss<1MiB: it was ")


def test_memory_limit() -> None:
    """A service that reaches its memory limit is ended."""
    scenario = mapping("repaired", 20)
    scenario["service"]["memory_limit"] = "1 MiB"
    result = soak(Scenario.from_mapping(scenario))

    assert result.outcome is Outcome.LIMIT
    assert "service reached its memory limit of 1.0 MiB" in result.result.verdict.reason


def test_dies() -> None:
    """A service that dies in the middle could not be run; what was measured is kept."""
    result = soaked("dies", 20, warm_up={"duration_s": 0})

    assert (result.outcome, result.exit_code()) == (Outcome.COULD_NOT_RUN, 4)
    assert "it ended with exit code 7, without a word" in result.result.verdict.reason
    assert result.result.runs > 50
    assert result.result.timeline
    _check_document(result)


def test_too_short() -> None:
    """A load that is too short is not decided, and says how long it should be."""
    result = soaked("leaky", 0.6, diagnose={"when": "off"})

    assert (result.outcome, result.exit_code(), result.exit_code("pass"), result.exit_code("fail")) == (
        Outcome.UNDECIDED, 3, 0, 1,
    )  # fmt: skip
    assert result.needs_s is not None
    assert result.needs_s >= 1.2
    assert "would tell" in result.result.verdict.reason


def test_without_load() -> None:
    """Without a load the service is watched, and judged over seconds."""
    scenario = mapping("repaired", idle={"duration_s": 1.6})
    del scenario["load"]
    result = soak(Scenario.from_mapping(scenario))

    assert (result.outcome, result.load) == (Outcome.CLEAN, None)
    assert result.result.verdict.reason == "nothing grows with each second"


def test_several_services() -> None:
    """Each process of each service is judged; a leak that the limits allow does not fail, and is not called clean."""
    service = mapping("leaky")["service"]
    other = {**service, "command": [*service["command"][:2], "repaired", "${MEMGUARD_PORT_2}"]}
    other["ready_url"] = "http://127.0.0.1:${MEMGUARD_PORT_2}/"
    limits = {"limits": ["growth<4KiB/request"]}
    result = soaked("leaky", service={"front": service, "back": other}, diagnose={"when": "off"}, thresholds=limits)

    assert [one.title.partition(":")[0] for one in result.processes] == ["front", "back"]
    assert [one.says.value for one in result.processes] == ["leak", "clean"]
    assert (result.outcome, result.result.verdict.level) == (Outcome.CLEAN, Level.GROWING)
    assert result.result.verdict.reason.endswith("the limits of the scenario allow that")


def test_nobody_answers() -> None:
    """A load that reaches nobody could not be run."""
    result = soaked("repaired", 20, load={"url": "http://127.0.0.1:9/", "rate": 100, "duration_s": 20})

    assert result.outcome is Outcome.COULD_NOT_RUN
    assert "refused" in result.result.verdict.reason


def test_load_program_fails() -> None:
    """So is one whose program ends in an error."""
    load = {"engine": "command", "command": ["false"], "duration_s": 5}
    result = soaked("repaired", 20, load=load)

    assert result.outcome is Outcome.COULD_NOT_RUN
    assert "the load could not be sent: false ended with 1" in result.result.verdict.reason


def test_does_not_start() -> None:
    """A service that does not start is an error, and there is no result."""
    scenario = mapping("repaired")
    scenario["service"]["command"] = ["no-such-program"]

    with pytest.raises(CouldNotRun, match="no-such-program cannot be started"):
        soak(Scenario.from_mapping(scenario))


def test_no_url() -> None:
    """A load that does not know where to go is refused before anything starts."""
    scenario = mapping("repaired")
    del scenario["service"]["ready_url"]

    with pytest.raises(ConfigError, match=r"\[load\] url is missing"):
        soak(Scenario.from_mapping(scenario))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int) -> None:
    """Ctrl-C and TERM end a run in good order: what was measured is kept, and nothing is left."""
    before = signal.getsignal(number)
    others = set(psutil.Process().children(recursive=True))

    def interrupt(line: str) -> None:
        if line.startswith("load, "):
            os.kill(os.getpid(), number)

    result = soak(Scenario.from_mapping(mapping("leaky", 60)), notice=interrupt)

    assert (result.outcome, result.exit_code()) == (Outcome.INTERRUPTED, 130)
    assert result.result.duration_s < 30
    assert signal.getsignal(number) is before
    assert set(psutil.Process().children(recursive=True)) <= others
