"""Services that start, that do not, and that do not want to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario.keeper import KEPT
from pytest_memguard.scenario.launch import Service
from pytest_memguard.scenario.spec import ServiceSpec

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need unix sockets and signals")

SCRIPT = str(Path(__file__).with_name("answering.py"))
STOP_S = 0.3


@pytest.fixture
def port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        number: int = one.getsockname()[1]
        return number


def spec(mode: str, port: int, **other: object) -> ServiceSpec:
    """Return the service for tests in one of its modes."""
    fields: dict[str, object] = {
        "command": (sys.executable, SCRIPT, mode, str(port)),
        "ready_url": f"http://127.0.0.1:{port}/",
        "stop_timeout_s": STOP_S,
        **other,
    }
    return ServiceSpec(**fields)  # type: ignore[arg-type]


def gone(pids: Iterable[int]) -> bool:
    """Wait until none of *pids* runs, some seconds at most."""
    until = time.monotonic() + 8
    alive = set(pids)
    while alive and time.monotonic() < until:
        alive = {pid for pid in alive if _runs(pid)}
        time.sleep(0.01)
    return not alive


def _runs(pid: int) -> bool:
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def test_service(port: int) -> None:
    """It is ready when its URL answers, its agent tells of it, and it is gone afterwards, with its folder."""
    with Service(spec("repaired", port)) as service:
        pids = service.pids()
        reading = service.sample().processes[0]
        answers = [client.call("ping")["pid"] for client in service.clients()]
        folder = service.folder

        assert (answers, reading.pid) == ([service.pid], service.pid)
        assert reading.has_agent
        assert service.died == ""
    assert gone(pids)
    assert not Path(folder).exists()


def test_worker(port: int) -> None:
    """Workers belong to it, and have agents of their own."""
    with Service(spec("has a worker", port)) as service:
        assert len(service.pids()) == 2
        assert len([client.pid for client in service.clients()]) == 2


def test_ignores_term(port: int) -> None:
    """What does not want to end is killed when its time is over."""
    with Service(spec("ignores TERM", port)) as service:
        pids = service.pids()
        began_s = time.monotonic()
        killed = service.stop()

    assert killed
    assert STOP_S <= time.monotonic() - began_s < 5
    assert gone(pids)


def test_forks_and_leaves(port: int) -> None:
    """A command that leaves its service in the background is found out, watched and ended."""
    with Service(spec("forks and leaves", port)) as service:
        pids = service.pids()

        assert service.notes == ["the command ended and left the service in the background; run it in the foreground"]
        assert service.pid not in pids
        assert len(pids) == 1
    assert gone(pids)


def test_prints_without_end(port: int) -> None:
    """However much it prints, it goes on, and the end of it is kept."""
    with Service(spec("prints", port)) as service:
        words = service.last_words()

    assert words.endswith("xxxx\n")
    assert len(words) <= 16 * 1024


def test_dies(port: int) -> None:
    """That it ended by itself is told, with its code and its last words."""
    with Service(spec("repaired", port)) as service:
        os.kill(service.pid, signal.SIGKILL)
        until = time.monotonic() + 5
        while not service.died and time.monotonic() < until:
            time.sleep(0.01)

        assert service.died == "it was ended by signal 9 (SIGKILL), without a word"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program",), "service: no-such-program cannot be started: No such file or directory"),
        (("/",), "service: / cannot be started: Permission denied"),
        (
            (sys.executable, "-c", "print('wrong setting'); raise SystemExit(3)"),
            "service: before it was ready it ended with exit code 3; its last words: wrong setting",
        ),
        ((sys.executable, "-c", ""), "service: before it was ready it ended with exit code 0, without a word"),
    ],
)
def test_does_not_start(port: int, command: tuple[str, ...], message: str) -> None:
    """A command that is not there, or that ends at once, is told in one line."""
    with pytest.raises(CouldNotRun) as caught, Service(spec("", port, command=command)):
        pass

    assert str(caught.value) == message


def test_never_ready(port: int) -> None:
    """A service that listens elsewhere is never ready; the line says where it listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        wrong = one.getsockname()[1]
    url = f"http://127.0.0.1:{wrong}/"

    with (
        pytest.raises(CouldNotRun) as caught,
        Service(spec("repaired", port, ready_url=url, ready_timeout_s=1)),
    ):
        pass

    assert str(caught.value) == (
        f"service was not ready within 1.0 s: nothing listens at 127.0.0.1:{wrong}; "
        f"it listens at 127.0.0.1:{port} instead"
    )


def test_port_in_use() -> None:
    """A port that somebody has is refused before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CouldNotRun, match=rf"port {port} is in use by .*process {os.getpid()}"):
            Service(spec("repaired", port)).__enter__()


def test_keeper_is_killed(port: int) -> None:
    """If the process between us and the service is killed, the service is ended, workers too, and that is told."""
    with Service(spec("has a worker", port)) as service:
        pids = service.pids()
        assert service._keeper is not None
        service._keeper.kill()
        service._keeper.wait()

        assert service.died == "the process that keeps it was killed, and it was ended"
    assert gone(pids)


def _killed(source: str, number: int) -> None:
    """Run *source* until it says that it is ready, kill it, and see that nothing of it is left."""
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = tuple(map(int, process.stdout.readline().split()))
    process.send_signal(number)
    process.wait(10)
    process.stdout.close()

    assert len(pids) == 3
    assert gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_we_are_killed(port: int, number: int) -> None:
    """Whatever ends us ends the service, its workers and its keeper."""
    source = f"""
import sys, time
sys.path.insert(0, {str(Path(SCRIPT).parent)!r})
from pytest_memguard.scenario.launch import Service
from pytest_memguard.scenario.spec import ServiceSpec
spec = ServiceSpec(({sys.executable!r}, {SCRIPT!r}, "has a worker", "{port}"), ready_url="http://127.0.0.1:{port}/")
try:
    with Service(spec) as service:
        print(*service.pids(), service._keeper.pid, flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    pass
"""

    _killed(source, number)


def test_marks(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service has a mark of its own below that of its run, and its memory limit, in its environment."""
    monkeypatch.setenv("OTHER", "stays")
    with Service(spec("repaired", port, memory_limit_bytes=2**30, env=(("SET", "x"),)), mark="run") as service:
        environ = psutil.Process(service.pid).environ()

    assert environ[KEPT].startswith("run:")
    assert (environ["MEMORY_LIMIT"], environ["SET"], environ["OTHER"]) == (str(2**30), "x", "stays")


@pytest.mark.parametrize("mode", ["agent", "url"])
def test_ready_without_url(port: int, mode: str) -> None:
    """Without a ready URL it is ready when the URL of the load is listened at, or when its agent is there."""
    url = f"http://127.0.0.1:{port}/" if mode == "url" else ""
    with Service(spec("repaired", port, ready_url=""), url=url) as service:
        assert len([client.pid for client in service.clients()]) == 1
