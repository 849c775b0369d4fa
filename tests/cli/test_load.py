"""``memguard load``: a URL in, latencies and an exit code out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_memguard import cli
from pytest_memguard.load.result import LoadResult

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def url() -> Iterator[str]:
    """Serve on loopback: /bad is a 503, all else a 200."""

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(503 if self.path == "/bad" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - as above

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_load(url: str, capsys: Captured) -> None:
    """What was measured is told on stdout, how far it is on stderr."""
    code = cli.main(["load", url, "-n", "20", "-c", "2"])
    out, err = capsys.readouterr()

    assert (code, out.splitlines()[0].startswith(f"{url}: 20 requests in ")) == (0, True)
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["throughput", "failed", "latency"]
    assert "20 answered       0 failed" in err


def test_json(url: str, capsys: Captured, tmp_path: Path) -> None:
    """With --json the document alone is on stdout; --output writes the same."""
    code = cli.main(["load", url, "-n", "20", "--json", "-o", str(tmp_path / "load.json")])
    out = capsys.readouterr().out
    result = LoadResult.from_dict(json.loads(out))

    assert (code, result.completed, result.model) == (0, 20, "closed")
    assert (tmp_path / "load.json").read_text() == out


def test_a_scenario(url: str, capsys: Captured, tmp_path: Path) -> None:
    """A scenario gives routes and numbers, the command line has the last word."""
    scenario = tmp_path / "shop.toml"
    scenario.write_text(
        f'[load]\nurl = "{url}"\nrequests = 50\nconnections = 2\n[load.routes]\n"/a" = 4\n"POST /b" = 1\n'
    )
    code = cli.main(["load", "--scenario", str(scenario), "-n", "10", "--json"])
    result = LoadResult.from_dict(json.loads(capsys.readouterr().out))

    assert code == 0
    assert [(route.name, route.requests) for route in result.routes] == [("GET /a", 8), ("POST /b", 2)]


@pytest.mark.parametrize(("most", "code"), [("25%", 0), ("24%", 4)])
def test_errors(url: str, capsys: Captured, tmp_path: Path, most: str, code: int) -> None:
    """More failed requests than were allowed end with code 4."""
    scenario = tmp_path / "shop.toml"
    scenario.write_text('[load]\nrequests = 40\n[load.routes]\n"/a" = 3\n"/bad" = 1\n')
    actual = cli.main(["load", url, "--scenario", str(scenario), "--max-errors", most])
    out, err = capsys.readouterr()

    assert actual == code
    assert "failed      10 (25 %): status 503: 10" in out
    assert ("25 % of the requests failed, more than --max-errors = 24 %" in err) is bool(code)


def test_a_body_is_posted(url: str, capsys: Captured) -> None:
    """With a body and no method requests are POST."""
    cli.main(["load", url, "-n", "1", "--body", "{{n}}", "-H", "X-A: b", "--json"])

    assert json.loads(capsys.readouterr().out)["routes"][0]["name"] == "POST /"


def test_nobody_listens(capsys: Captured) -> None:
    """A service that is not there is one clear line and code 4, after what was measured."""
    code = cli.main(["load", "http://127.0.0.1:1"])
    out, err = capsys.readouterr()

    assert code == 4
    assert "refused: 10" in out
    assert "memguard: http://127.0.0.1:1: gave up: none of the first 10 requests was answered (refused)\n" in err


def test_a_command(url: str, capsys: Captured) -> None:
    """Any program can send the load, and is asked what it measured."""
    program = "import sys; print('{\\\"requests\\\": %s}' % sys.argv[1])"
    code = cli.main(["load", url, "--command", f'{sys.executable} -c "{program}" {{connections}}'])

    assert code == 0
    assert "10 requests in" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_an_interrupt(url: str) -> None:
    """Ctrl-C ends the run with what was measured, and code 130."""
    command = [sys.executable, "-c", "from pytest_memguard import cli; raise SystemExit(cli.main())", "load", url]
    with subprocess.Popen([*command, "--rate", "50", "--json"], stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr
        process.stderr.readline()  # the first second is over
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    result = LoadResult.from_dict(json.loads(out))

    assert (process.returncode, result.stopped, "Traceback" in err) == (130, "stopped", False)
    assert result.completed > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "command line: URL is missing"),
        (["127.0.0.1:8000"], "command line: url = '127.0.0.1:8000' is not the URL of a service"),
        (["http://h", "-c", "0"], "command line: connections = 0 is not a whole number from 1"),
        (["http://h", "-d", "3", "-r", "4"], "command line: ramp_up_s = 4 is longer than duration_s = 3"),
        (["http://h", "--rate", "-1"], "command line: rate = -1.0 is not a number above 0"),
        (["http://h", "-H", "X"], "command line: --header = 'X' is not a header; write 'Name: text'"),
        (["http://h", "--command", "wrk '"], 'command line: --command = "wrk \'" cannot be split into words'),
        (["http://h", "--scenario", "nowhere.toml"], "nowhere.toml: cannot be read (No such file or directory)"),
        (["http://h", "--scenario", "bad.toml"], "bad.toml: not valid TOML"),
        (["http://h", "--scenario", "other.toml"], "other.toml: there is no section [load]"),
        (["http://h", "--scenario", "wrong.toml"], "wrong.toml: [load] rat is not a setting of a load; did you mean"),
        (["http://h", "-o", "nowhere/load.json"], "there is no folder for it; make it first"),
    ],
)
def test_wrong_usage(
    arguments: list[str], says: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be is refused in one line, before anything is sent, with code 2."""
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[load")
    Path("other.toml").write_text("[service]\n")
    Path("wrong.toml").write_text("[load]\nrat = 1\n")
    code = cli.main(["load", *arguments])
    out, err = capsys.readouterr()

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
