"""
Kills a part of a soak at a random moment, and looks whether anything is left, hangs, or ends without a word.

    python benchmarks/soak_kills.py --rounds 50

The parts: the service, its worker, its keeper (the process between us and it), the driver of the load (a process of
its own here), the service with the socket of its agent removed, and memguard itself. Target: after every kill no
process of the run is left, it ends within its time, and what it leaves is a readable document or a clear word.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from pytest_memguard import store
from pytest_memguard.errors import MemguardError
from pytest_memguard.scenario.keeper import KEPT

PARTS = ("service", "worker", "keeper", "driver", "agent", "ourselves")

_MEMGUARD = "import sys; from pytest_memguard.cli import main; sys.exit(main())"
#: A master that starts two workers again and again, on one socket; and a driver that is a program.
_SERVICE = """
import http.server, os, signal, socket, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
workers = set()
while True:
    while len(workers) < 2:
        pid = os.fork()
        if not pid:
            server.serve_forever()
        workers.add(pid)
    pid, _ = os.wait()
    workers.discard(pid)
"""
_DRIVER = """
import json, sys, time, urllib.request
until = time.monotonic() + float(sys.argv[2]); done = errors = 0
while time.monotonic() < until:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=2).read(); done += 1
    except OSError:
        errors += 1
    time.sleep(0.005)
print(json.dumps({"requests": done + errors, "errors": errors}))
"""
_SCENARIO = """
[service]
command = ["${MEMGUARD_PYTHON}", "service.py", "${MEMGUARD_PORT}"]
ready_url = "http://127.0.0.1:${MEMGUARD_PORT}/"
stop_timeout_s = 2
[idle]
duration_s = 0.3
[warm_up]
duration_s = 0.5
[load]
DRIVER
duration_s = 2.5
[cool_down]
duration_s = 0.3
[diagnose]
when = "off"
"""
_DRIVERS = {
    True: 'engine = "command"\ncommand = ["${MEMGUARD_PYTHON}", "driver.py", "{url}", "{duration_s}"]',
    False: "rate = 100",
}
_LONGEST_S = 40.0


def kill_once(part: str, folder: Path, after_s: float) -> str:
    """Soak, kill *part* after so many seconds of load, and return what is wrong with the end; empty if nothing is."""
    (folder / "service.py").write_text(_SERVICE)
    (folder / "driver.py").write_text(_DRIVER)
    (folder / "kill.toml").write_text(_SCENARIO.replace("DRIVER", _DRIVERS[part == "driver"]))
    document, log = folder / "run.json", folder / "log.txt"
    document.unlink(missing_ok=True)
    with log.open("wb") as out:
        soak = subprocess.Popen(
            [sys.executable, "-c", _MEMGUARD, "soak", "kill.toml", "--json", str(document)],
            cwd=folder, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        try:
            run = _wait_for_service(soak, folder)
            time.sleep(after_s)
            _kill(part, soak, run, folder)
            code = soak.wait(_LONGEST_S)
        except (subprocess.TimeoutExpired, TimeoutError) as error:
            return f"hangs: {error}; {log.read_text()[-300:]}"
        finally:
            soak.kill()
            soak.wait()
    return _judged(part, code, run, document, log)


def _wait_for_service(soak: subprocess.Popen[bytes], folder: Path) -> set[psutil.Process]:
    """Return all processes of the run, once the service has its workers."""
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < until:
        found = set(_family(soak))
        if sum(_is(process, "service.py") for process in found) == 3:
            return found
        if soak.poll() is not None:
            raise TimeoutError("it ended before there was a service")
        time.sleep(0.02)
    raise TimeoutError("there never was a service")


def _family(soak: subprocess.Popen[bytes]) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield from psutil.Process(soak.pid).children(recursive=True)


def _is(process: psutil.Process, script: str) -> bool:
    with suppress(psutil.Error):
        return any(word.endswith(script) for word in process.cmdline())
    return False


def _kill(part: str, soak: subprocess.Popen[bytes], run: set[psutil.Process], folder: Path) -> None:
    services = sorted((one for one in run if _is(one, "service.py")), key=lambda one: one.pid)
    master = next(one for one in services if one.ppid() not in {other.pid for other in services})
    with suppress(psutil.Error):
        if part == "service":
            master.kill()
        elif part == "worker":
            next(one for one in services if one.pid != master.pid).kill()
        elif part == "keeper":
            next(one for one in run if _is(one, "keeper.py")).kill()
        elif part == "driver":
            until = time.monotonic() + 3
            while time.monotonic() < until:
                drivers = [one for one in _family(soak) if _is(one, "driver.py")]
                if drivers:
                    drivers[0].kill()
                    return
                time.sleep(0.01)
        elif part == "agent":
            agents = Path(master.environ()["MEMGUARD_AGENT_FOLDER"])
            for socket in agents.glob("*.sock"):
                socket.unlink(missing_ok=True)
            master.send_signal(signal.SIGSTOP)
            master.kill()
        else:
            run.update(_family(soak))
            soak.send_signal(signal.SIGKILL)


def _judged(  # noqa: PLR0911 - one a thing that can be wrong
    part: str, code: int, run: set[psutil.Process], document: Path, log: Path
) -> str:
    text = log.read_text(errors="replace")
    _, alive = psutil.wait_procs(list(run), timeout=6)
    left = [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] + _marked(document.parent)
    if left:
        return f"left behind: {left}"
    if "Traceback" in text:
        return f"a traceback: {text[-600:]}"
    if part == "ourselves":
        return "" if not document.exists() else "half a document"
    if code not in ({0, 1, 3} if part == "worker" else {4}):
        return f"exit code {code}: {text[-300:]}"
    if document.exists():
        try:
            result = store.read(document).results[0]
        except MemguardError as error:
            return f"unreadable: {error}"
        return "" if result.verdict.reason else "no reason"
    return "" if "memguard: " in text else f"not a word: {text[-300:]}"


def _marked(folder: Path) -> list[psutil.Process]:
    """Return what is left of any run in *folder*."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if KEPT in process.environ() and process.cwd() == str(folder):
                found.append(process)
    return found


def main() -> int:
    """Kill so often, and print what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    tally = {part: [0, 0] for part in PARTS}
    for number in range(options.rounds):
        part = PARTS[number % len(PARTS)]
        after_s = moments.uniform(0, 3.0)
        with tempfile.TemporaryDirectory(prefix="memguard-kill-") as name:
            wrong = kill_once(part, Path(name), after_s)
        tally[part][bool(wrong)] += 1
        print(f"{number + 1:3} {part:10} after {after_s:.2f} s  {wrong or 'ok'}", flush=True)
    print(json.dumps({part: f"{good} of {good + bad}" for part, (good, bad) in tally.items()}))
    return int(any(bad for _, bad in tally.values()))


if __name__ == "__main__":
    sys.exit(main())
