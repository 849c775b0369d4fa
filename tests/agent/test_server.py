"""The end that listens: who is answered, what is too much, and what a copy of the process does."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.agent import server
from pytest_memguard.agent.client import Client
from pytest_memguard.agent.server import PROTOCOL, Agent, _encoded
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from tests.agent.conftest import Service, Started, WaitFor


@contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    """Connect as somebody does who has not our client."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(20)
        raw.connect(service.path)
        yield raw


def request(service: Service, **changes: object) -> bytes:
    """Return a line that is answered, unless *changes* make it wrong."""
    return json.dumps({"protocol": PROTOCOL, "token": service.token, "command": "ping", **changes}).encode() + b"\n"


def answer(raw: socket.socket) -> dict[str, Any]:
    """Return the next answer; empty where the other end was closed."""
    with raw.makefile("rb") as lines:
        line = lines.readline()
    return json.loads(line) if line else {}


def is_closed(raw: socket.socket) -> bool:
    """Return whether the other end was closed without a word."""
    try:
        return raw.recv(100) == b""
    except ConnectionResetError:
        return True


def is_alive(service: Service) -> bool:
    """Return whether the agent answers our client."""
    with Client(service.path, service.token) as client:
        return client.pid == service.process.pid


# -- who is answered -------------------------------------------------------------------------------------------------


def test_the_socket_is_for_this_user_only(service: Service) -> None:
    """The folder has mode 0700, the socket and the token 0600."""
    modes = [
        stat.S_IMODE(Path(name).stat().st_mode) for name in (service.folder, service.path, f"{service.folder}/token")
    ]

    assert modes == [0o700, 0o600, 0o600]


def test_a_request_is_answered(service: Service) -> None:
    """Whoever has the token gets a line of JSON."""
    with connection(service) as raw:
        raw.sendall(request(service))
        said = answer(raw)

    assert said["ok"] is True
    assert said["result"]["pid"] == service.process.pid
    assert said["result"]["protocol"] == PROTOCOL


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[]\n",
        b"\n",
        b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b'{"command": "ping", "protocol": 1}\n',
        b'{"command": "ping", "protocol": 1, "token": null}\n',
        b'{"command": "ping", "protocol": 1, "token": "\\ud800"}\n',
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_no_token_no_word(service: Service, line: bytes) -> None:
    """What is no request, or has no token, is not answered at all; the agent lives on."""
    with connection(service) as raw:
        raw.sendall(line)

        assert is_closed(raw)
    assert is_alive(service)


def test_a_wrong_token(service: Service) -> None:
    """A wrong token closes the connection."""
    with connection(service) as raw:
        raw.sendall(request(service, token=service.token[:-1] + "x"))

        assert is_closed(raw)


@pytest.mark.parametrize(("uid", "is_answered"), [(1000, True), (0, True), (1001, False)])
def test_another_user(monkeypatch: pytest.MonkeyPatch, uid: int, is_answered: bool) -> None:  # noqa: FBT001 - a table
    """The kernel says who has connected: this user and root are heard, nobody else."""
    credentials = b"".join(number.to_bytes(4, sys.byteorder) for number in (77, uid, 5))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    peer: Any = SimpleNamespace(getsockopt=lambda *_: credentials)

    assert server._is_of_this_user(peer) is is_answered


def test_another_protocol(service: Service) -> None:
    """Another version gets a clear word instead of an answer that it may misread."""
    with connection(service) as raw:
        raw.sendall(request(service, protocol=PROTOCOL + 1))
        said = answer(raw)

    assert said["ok"] is False
    assert "same version" in said["error"]


@pytest.mark.parametrize("name", ["eval", "exec", "__class__", "", None, ["ping"]])
def test_there_are_no_other_commands(service: Service, name: object) -> None:
    """What is no command is refused with the names of those that are."""
    with connection(service) as raw:
        raw.sendall(request(service, command=name))
        said = answer(raw)

    assert said["ok"] is False


# -- what is too much ------------------------------------------------------------------------------------------------


def test_half_a_line_waits_for_its_rest(service: Service) -> None:
    """A request may come in pieces, and two of them in one."""
    line = request(service)
    with connection(service) as raw:
        raw.sendall(line[:20])
        assert is_alive(service)
        raw.sendall(line[20:] + line)
        with raw.makefile("rb") as lines:
            said = [json.loads(lines.readline()) for _ in range(2)]

    assert [one["ok"] for one in said] == [True, True]


IMPATIENT = """
import sys
from pytest_memguard.agent import server
server._SILENCE_S = 0.2
print("ready", flush=True)
sys.stdin.read()
"""


def test_half_a_line_is_not_waited_for_for_ever(started: Started) -> None:
    """Who sends half a line and nothing more is closed, and meanwhile others are answered."""
    with started(IMPATIENT) as service:
        assert service.line() == "ready"
        with connection(service) as silent, connection(service) as half:
            half.sendall(b'{"token": "')

            assert is_alive(service)
            assert is_closed(silent)
            assert is_closed(half)


def test_a_line_without_end(service: Service) -> None:
    """A line of 100 MB is cut off long before it is read."""
    sent = 0
    with connection(service) as raw, suppress(BrokenPipeError, ConnectionResetError):
        while sent < 100 * 2**20:
            sent += raw.send(b"x" * 65536)

    assert sent < 2**21
    assert is_alive(service)


def test_a_line_that_is_too_long(service: Service) -> None:
    """So is a whole line, be it with the token."""
    with connection(service) as raw:
        raw.sendall(request(service, padding="x" * 70_000))

        assert is_closed(raw)


def test_a_flood_of_connections(service: Service, wait_for: WaitFor) -> None:
    """Fifty who connect and say nothing keep nobody else out, and the process has no descriptor more afterwards."""
    with Client(service.path, service.token) as client:
        before = client.call("stats")["fds"]
        flood = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(50)]
        for one in flood:
            one.connect(service.path)
        assert is_alive(service)
        for one in flood:
            one.close()
        wait_for(lambda: client.call("stats")["fds"] <= before)


def test_a_flood_of_requests(service: Service) -> None:
    """Four hundred requests at once are all answered."""
    with connection(service) as raw:
        raw.sendall(request(service) * 400)
        with raw.makefile("rb") as lines:
            said = [json.loads(lines.readline())["ok"] for _ in range(400)]

    assert said == [True] * 400


def test_an_answer_is_cut_to_what_fits() -> None:
    """Rows are left out until the answer fits, and it says so."""
    line = _encoded({"ok": True, "result": {"rows": ["x" * 1000] * 3000, "total": 3000}})
    said = json.loads(line)["result"]

    assert len(line) <= 1 << 20
    assert len(said["rows"]) == 750
    assert said["truncated"] is True


def test_an_answer_that_cannot_be_cut() -> None:
    """One without rows is replaced by a word."""
    assert json.loads(_encoded({"ok": True, "result": {"text": "x" * 2**21}}))["ok"] is False


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_two_hundred_readings_keep_nothing(service: Service) -> None:
    """Asking for the counters two hundred times leaves not one block and not one byte of heap behind."""
    with Client(service.path, service.token) as client:
        for _ in range(20):
            before = client.call("stats")
        for _ in range(200):
            after = client.call("stats")

    assert after["blocks"] - before["blocks"] == 0
    assert after["heap_bytes"] == before["heap_bytes"]
    assert after["fds"] == before["fds"]


# -- copies of the process -------------------------------------------------------------------------------------------

FORKING = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
sys.stdin.read()
"""


def test_a_forked_worker_has_its_own(started: Started, wait_for: WaitFor) -> None:
    """A forked child listens at a socket of its own, with the same token."""
    with started(FORKING) as service:
        child = int(service.line())
        path = f"{service.folder}/{child}.sock"
        wait_for(lambda: Path(path).exists())
        with Client(path, service.token) as client:
            assert client.pid == child
        assert is_alive(service)


def test_a_forked_worker_does_not_hold_the_socket_of_its_parent(started: Started, wait_for: WaitFor) -> None:
    """When the parent is gone, nobody listens at its socket: a connection would never be answered."""
    with started(FORKING) as service:
        wait_for(Path(f"{service.folder}/{service.line()}.sock").exists)
        service.process.kill()
        service.process.wait()

        with pytest.raises(CouldNotRun, match="no agent answers"):
            Client(service.path, service.token)


def test_a_copy_made_for_a_snapshot_does_not_listen(service: Service) -> None:
    """The copy that writes a heap snapshot is no worker: it has no socket."""
    before = {entry.name for entry in Path(service.folder).iterdir()}
    with Client(service.path, service.token) as client:
        written = Path(client.call("snapshot", compress=True)["path"]).name
    added = {entry.name for entry in Path(service.folder).iterdir()} - before

    assert added == {written}


def test_the_socket_goes_when_the_process_ends(started: Started) -> None:
    """A process that ends by itself leaves no socket behind."""
    with started("pass") as short:
        short.process.wait(20)

        assert not Path(short.path).exists()


# -- starting --------------------------------------------------------------------------------------------------------


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run *program* to its end, without the agent."""
    environ = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False, timeout=30
    )


def test_start_without_a_folder(home: Path) -> None:
    """It makes a folder of its own, is found by the number of the process, and cleans up."""
    program = """
from pytest_memguard import agent
from pytest_memguard.agent.client import connect
import os
path = agent.start()
assert agent.start() == path
with connect(os.getpid()) as client: print(client.pid == os.getpid())
"""
    done = run_python(program, XDG_RUNTIME_DIR=str(home))

    assert (done.stdout, done.stderr) == ("True\n", "")
    assert list(home.glob("*/*")) == []


def test_nothing_listens_by_the_environment_alone(home: Path) -> None:
    """The variables start nothing without the boot folder: only what was asked for listens."""
    done = run_python(
        "import pytest_memguard.agent.server as s; print(s._listening.agent)",
        MEMGUARD_AGENT_FOLDER=str(home), MEMGUARD_AGENT_TOKEN="x" * 32,
    )  # fmt: skip

    assert done.stdout == "None\n"


def test_a_folder_that_others_can_enter(tmp_path: Path) -> None:
    """A folder of mode 0755 is refused."""
    tmp_path.chmod(0o755)

    with pytest.raises(CouldNotRun, match="0700"):
        server.start(str(tmp_path))


def test_a_folder_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that nobody made for agents is refused: nobody could be answered."""
    tmp_path.chmod(0o700)
    monkeypatch.delenv("MEMGUARD_AGENT_TOKEN", raising=False)

    with pytest.raises(CouldNotRun, match="token"):
        server.start(str(tmp_path))


@pytest.mark.parametrize(("length", "fits"), [(103, True), (104, False)])
def test_the_longest_path_of_a_socket(tmp_path: Path, length: int, fits: bool) -> None:  # noqa: FBT001 - a table
    """A path over 103 bytes is refused with a word; the system would cut it off, or say something odd."""
    tail = f"/{os.getpid()}.sock"
    agent = Agent("x" * (length - len(tail)), "token", {})

    with pytest.raises(CouldNotRun, match="cannot listen" if fits else "too long"):
        agent.listen()


GEVENT = """
import sys, types, _thread, select, time
kept = {("_thread", "start_new_thread"): _thread.start_new_thread, ("select", "poll"): select.poll}
def broken(*_): raise RuntimeError("a green one")
_thread.start_new_thread = select.poll = broken
monkey = types.ModuleType("gevent.monkey")
monkey.get_original = lambda module, name: kept.get((module, name)) or getattr(sys.modules[module], name)
sys.modules["gevent"], sys.modules["gevent.monkey"] = types.ModuleType("gevent"), monkey
from pytest_memguard import agent
print(agent.start(), flush=True)
sys.stdin.read()
"""


def test_functions_that_gevent_has_replaced(home: Path) -> None:
    """An agent that is started after gevent has patched everything runs in a real thread, on a real poll."""
    process = subprocess.Popen(
        [sys.executable, "-c", GEVENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        with Client(path, (Path(path).parent / "token").read_text()) as client:
            assert client.pid == process.pid
    finally:
        process.communicate("")


def test_a_waiting_agent_costs_nothing(service: Service) -> None:
    """Without a connection the thread sleeps for good: it takes no processor time."""
    import psutil

    process = psutil.Process(service.process.pid)
    before = process.num_ctx_switches()
    time.sleep(0.3)

    assert process.num_ctx_switches() == before
