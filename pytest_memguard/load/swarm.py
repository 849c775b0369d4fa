"""
The engine Locust: a master and workers, each in its own process and in an interpreter of their own.

Locust replaces sockets and threads of the process that imports it, so it is never imported here: it is started, told
what to do by one file, and its results are read from the files that it writes. Its clients wait for answers, so its
model is closed; a rate paces them.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.load.latency import Histogram
from pytest_memguard.load.processes import finished, output_of, stopped
from pytest_memguard.load.result import LoadResult, RouteResult, SecondCounts
from pytest_memguard.load.smooth import Smooth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_memguard.load.profile import LoadSpec

__all__ = ["Swarm", "locustfile"]

_HERE = Path(__file__).parent
_PROBE_S = 60.0  # a cold start of Locust on a busy machine takes seconds
_LOOK_S = 0.25
_STOP = "stop"  # the master ends its run when this file appears
_BELOW_A_MS = 0.5  # what Locust rounds to 0
_END_S = 30.0  # for the last answers and the files, after the end of the run

#: Kinds of failures in which no answer came.
_UNANSWERED = frozenset(
    {"refused", "redirect loop", "timeout", "TLS", "host not found", "unreachable", "not HTTP", "cut"}
)


def locustfile(spec: LoadSpec) -> str:
    """Return the one file that Locust needs for *spec*: master and workers, on any machine."""
    text = (_HERE / "_locustfile.py").read_text(encoding="utf-8")
    request = (_HERE / "request.py").read_text(encoding="utf-8")
    _docstring, future, request = request.partition("from __future__ import annotations\n")
    scenario = f"json.loads({json.dumps(_scenario(spec))!r})"
    text = re.sub(r".*# <- request\.py\n", lambda _line: request if future else "", text)
    return re.sub(r"json\.loads\(.*\)  # <- scenario", lambda _call: scenario, text)


def _scenario(spec: LoadSpec) -> dict[str, Any]:
    names = ("requests", "rate", "connections", "duration_s", "ramp_s", "keep_alive", "verify_tls", "redirects")
    routes = [
        {name: getattr(route, name) for name in ("path", "method", "name", "weight", "headers", "body", "expect")}
        for route in spec.mix
    ]
    return {name: getattr(spec, name) for name in (*names, "timeout_s")} | {"url": spec.url, "routes": routes}


class Swarm:
    """
    Load by Locust; one object a run. ``completed`` may be read at any moment, and is a second or two old.

    Args:
        spec: With ``locust``, the interpreter that has it, and ``workers``, the processes on this machine.
        expect_workers: Wait for so many workers, where some are on other machines.
        bind: Address that the master listens on; workers on other machines need one that they can reach.
        port: Port that the master listens on; None takes a free one.
        folder: Keeps Locust's files; None removes them.

    Raises:
        ConfigError: there is no URL, or no Locust.
    """

    def __init__(
        self,
        spec: LoadSpec,
        *,
        expect_workers: int | None = None,
        bind: str = "127.0.0.1",
        port: int | None = None,
        folder: Path | None = None,
    ) -> None:
        if not spec.url:
            raise ConfigError("LoadSpec: url is missing; give the URL of the service")
        self.spec = spec
        self.python = spec.locust or ""
        self.expected = expect_workers or spec.workers
        self.bind, self.port, self.folder = bind, port, folder
        self.started = 0
        self.failed = 0
        self._completed = Smooth()
        self._seconds: list[SecondCounts] = []
        self._check()

    @property
    def completed(self) -> int:
        """Requests completed until now, or rather until a second or two ago."""
        return int(self._completed)

    def _check(self) -> None:
        if self.expected < self.spec.workers:
            here = f"the {self.spec.workers} workers that are started here"
            raise ConfigError(f"expect_workers = {self.expected} is less than {here}")
        try:
            question = [self.python, "-m", "locust", "--version"]
            version = subprocess.run(  # noqa: S603 - the interpreter that the user named
                question, capture_output=True, text=True, check=False, timeout=_PROBE_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"locust = {self.python!r} cannot be started ({error})") from error
        if version.returncode:
            last = (version.stderr.strip().splitlines() or ["no word of why"])[-1]
            hint = "make an environment of its own with it: python -m venv locust && locust/bin/pip install locust"
            raise ConfigError(f"locust = {self.python!r} has no Locust ({last}); {hint}")

    async def run(
        self, on_second: Callable[[SecondCounts], object] | None = None, stop: asyncio.Event | None = None
    ) -> LoadResult:
        """
        Send the load, and return what was measured.

        Args:
            on_second: Called for each second that Locust has told of, with requests that ended for completed ones.
            stop: Set it, and Locust is told to end; the result says so and holds what was measured.

        Raises:
            CouldNotRun: Locust ended in an error, or a worker did.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            return await self._run_in(self.folder, on_second, stop or asyncio.Event())
        with tempfile.TemporaryDirectory(prefix="memguard-locust-", ignore_cleanup_errors=True) as folder:
            return await self._run_in(Path(folder), on_second, stop or asyncio.Event())

    async def _run_in(
        self, folder: Path, on_second: Callable[[SecondCounts], object] | None, stop: asyncio.Event
    ) -> LoadResult:
        self._prepare(folder)
        started_at = time.time()
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for name, arguments in self._commands():
                processes.append(self._start(folder, name, arguments))
            stopped_by = await self._watch(folder, processes, on_second, stop, started_at)
        finally:
            stopped(processes)
        return self._result(folder, stopped_by)

    def _prepare(self, folder: Path) -> None:
        for left in (*folder.glob("locust*.csv"), folder / "locust.json", folder / _STOP):
            left.unlink(missing_ok=True)  # of a run before, in a folder that is kept
        (folder / "locustfile.py").write_text(locustfile(self.spec), encoding="utf-8")

    def _commands(self) -> list[tuple[str, list[str]]]:
        port = str(self.port or _free_port(self.bind))
        master = [
            "-f", "locustfile.py", "--master", "--headless",
            "--master-bind-host", self.bind, "--master-bind-port", port,
            "--expect-workers", str(self.expected), "--expect-workers-max-wait", str(int(_PROBE_S)),
            "--only-summary", "--stop-timeout", str(int(self.spec.timeout_s) + 1), "--exit-code-on-error", "0",
            "--csv", "locust", "--csv-full-history", "--json-file", "locust",
        ]  # fmt: skip
        near = "127.0.0.1" if self.bind in {"0.0.0.0", "*", "::"} else self.bind  # noqa: S104 - the user's own choice
        worker = ["-f", "locustfile.py", "--worker", "--master-host", near, "--master-port", port]
        return [("master", master), *((f"worker{i}", worker) for i in range(1, self.spec.workers + 1))]

    def _start(self, folder: Path, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "MEMGUARD_PARENT": str(os.getpid()), "PYTHONWARNINGS": "ignore"}
        environment["MEMGUARD_STOP"] = str(folder.absolute() / _STOP)
        with (folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - the interpreter that the user named
                [self.python, "-m", "locust", *arguments, "--loglevel", "WARNING"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    async def _watch(
        self,
        folder: Path,
        processes: Sequence[subprocess.Popen[bytes]],
        on_second: Callable[[SecondCounts], object] | None,
        stop: asyncio.Event,
        started_at: float,
    ) -> str:
        """Wait for the master's end while telling of the seconds; return why it ended early, if it did."""
        master, *workers = processes
        give_up_at = started_at + _PROBE_S + self.spec.duration_s + self.spec.timeout_s + _END_S
        told_to_stop = ""
        while master.poll() is None:
            self._tell(folder, on_second)
            for at, worker in enumerate(workers, 1):
                if worker.poll() and not told_to_stop:
                    raise CouldNotRun(f"worker {at} of Locust ended with {worker.returncode}: {_last_words(folder)}")
            if time.time() > give_up_at:
                raise CouldNotRun(f"Locust did not end {_END_S:g} s after its time was over: {_last_words(folder)}")
            if stop.is_set() and not told_to_stop:
                told_to_stop = "stopped"
                (folder / _STOP).touch()  # a signal would end the master before it writes its results
                give_up_at = time.time() + _END_S
            await asyncio.sleep(_LOOK_S)
        if master.returncode and not (folder / "locust.json").exists():
            raise CouldNotRun(f"Locust ended with {master.returncode}: {_last_words(folder)}")
        await finished(workers, timeout_s=5.0)
        self._tell(folder, on_second)
        self._completed.end()
        return told_to_stop

    def _tell(self, folder: Path, on_second: Callable[[SecondCounts], object] | None) -> None:
        """Read the totals that Locust writes every second."""
        rows = [row for row in _rows(folder / "locust_stats_history.csv") if row.get("Name") == "Aggregated"]
        for row in rows[len(self._seconds) :]:
            ended, failed = int(row["Total Request Count"]), int(row["Total Failure Count"])
            new = ended - self.started
            counts = SecondCounts(len(self._seconds), new, new, failed - self.failed)
            self.started = ended
            self._completed.tell(ended)
            self.failed = failed
            self._seconds.append(counts)
            if on_second:
                on_second(counts)

    def _result(self, folder: Path, stopped_by: str) -> LoadResult:
        routes = _routes(folder / "locust.json")
        names = {(route.method, route.name): route for route in self.spec.mix}
        known = [route for route in routes if (route["method"], route["name"]) in names]
        began = min((route["start_time"] for route in known), default=0.0)
        ended = max((route["last_request_timestamp"] or began for route in known), default=began)
        errors = _errors(folder / "locust_failures.csv")
        requests = sum(route["num_requests"] for route in known)
        results = tuple(
            RouteResult(one["name"], one["num_requests"], one["num_failures"], _histogram(one)) for one in known
        )
        unanswered = sum(number for kind, number in errors.items() if kind in _UNANSWERED)
        return LoadResult(
            engine="locust",
            model="closed",
            url=self.spec.public_url,
            started_at=began,
            duration_s=ended - began,
            started=requests,
            requests=requests,
            completed=requests - unanswered,
            errors=errors,
            latency=sum((one.latency for one in results), Histogram()),
            seconds=_by_second(known),
            routes=results,
            received_bytes=sum(route["total_content_length"] for route in known),
            stopped=stopped_by,
        )


def _free_port(bind: str) -> int:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind(("" if bind == "*" else bind, 0))
        except OSError as error:
            raise ConfigError(f"bind = {bind!r} is not an address of this machine ({error.strerror})") from error
        return int(probe.getsockname()[1])


def _last_words(folder: Path) -> str:
    texts = (output_of(log) for log in sorted(folder.glob("*.log")))
    return next((text for text in texts if text), "no word of why")


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a file that Locust may still be writing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def _routes(path: Path) -> list[dict[str, Any]]:
    try:
        routes: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CouldNotRun(f"Locust wrote no results that can be read ({error}): {_last_words(path.parent)}") from error
    return routes


def _errors(path: Path) -> Mapping[str, int]:
    """Return failures by kind; Locust writes them as ``CatchResponseError('status 503')``."""
    errors: Counter[str] = Counter()
    for row in _rows(path):
        found = re.fullmatch(r"\w+\((['\"])(.*)\1,?\)", row["Error"], re.DOTALL)
        errors[found[2] if found else row["Error"]] += int(row["Occurrences"])
    return dict(errors.most_common())


def _histogram(route: Mapping[str, Any]) -> Histogram:
    """Return the latencies of a route; Locust rounds them to ms, and to two digits above 100 ms."""
    histogram = Histogram()
    for latency_ms, times in route["response_times"].items():
        histogram.record(max(float(latency_ms), _BELOW_A_MS) / 1000, times)
    return histogram


def _by_second(routes: Sequence[Mapping[str, Any]]) -> tuple[SecondCounts, ...]:
    """Return the counts of each second; Locust counts a request when it ends."""
    ended: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for route in routes:
        ended.update({int(second): number for second, number in route["num_reqs_per_sec"].items()})
        failed.update({int(second): number for second, number in route["num_fail_per_sec"].items()})
    first, last = min(ended, default=0), max(ended, default=-1)
    return tuple(SecondCounts(at - first, ended[at], ended[at], failed[at]) for at in range(first, last + 1))
