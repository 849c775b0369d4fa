"""
What a guard costs a service that does nothing, and how soon it turns requests away.

Memory: unique bytes (USS) of a process that has uvicorn and Starlette loaded, with and without a guard whose window and
history are full and whose readings were judged; the two take turns. CPU: of a process that sleeps with a guard in it,
beside what one judgement takes a minute. Shedding: from the moment the memory is too full to the first request that is
turned away, in intervals, and how long the answer 503 takes.

Targets: 5 MiB; 0.1 % of a core at the interval of 5 s; one interval; 1 ms.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from rounds import BARE, arguments, judged, keep, run, show

MIB = 2**20
MEMORY_TARGET, CPU_TARGET, SHED_TARGET, ANSWER_TARGET = 5 * MIB, 0.1, 1.0, 1e-3
_INTERVAL_S, _MINUTE_S = 5.0, 60.0

_SERVICE = """
import gc, json, re, sys, time
import starlette.applications, starlette.routing, uvicorn, uvicorn.lifespan.on, uvicorn.protocols.http.h11_impl

guarded, idle_s = sys.argv[1] == "guarded", float(sys.argv[2])
guard, judge_s = None, 0.0
if guarded:
    from pytest_memguard.service import watch
    from pytest_memguard.service.readings import Reading

    guard = watch(environ={}, limit_bytes="8 GiB", platform="default", interval_s=5)
    monitor = guard._monitor
    guard.look()
    for number in range(60 + 1440):
        now_s = time.monotonic() - (1500 - number) * 60
        monitor._keep(Reading(now_s, 10**8 + number % 7 * 4096, 10**7 + number % 5, 2 * 10**8, 10**6 + number % 11, None,
                              20, 5, number * 1000, monitor.collections.stats, 10**8 + number % 7 * 4096))
    guard.detect()
    began = time.process_time()
    guard.detect()
    judge_s = time.process_time() - began
gc.collect()
rollup = open("/proc/self/smaps_rollup").read()  # not psutil, which the guard is to pay for
uss = 1024 * sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\\d+) kB", rollup, re.MULTILINE)))
began, wall = time.process_time(), time.monotonic()
time.sleep(idle_s)
cpu = (time.process_time() - began) / (time.monotonic() - wall)
print(json.dumps({"uss": uss, "cpu": cpu, "judge_s": judge_s}))
"""

_SHEDDING = """
import json, logging, sys, time
logging.disable()
from pytest_memguard.service import watch

interval_s = float(sys.argv[1])
readings, statuses = [], []


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]


application = watch(app, environ={}, limit_bytes="8 GiB", interval_s=interval_s, leak_detection=False, proactive_gc=False)
guard = application.guard
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1"}


def ask():
    began = time.perf_counter()
    answer = application(environ, lambda status, headers: statuses.append(status))
    b"".join(answer)
    getattr(answer, "close", int)()
    return time.perf_counter() - began


for number in range(int(sys.argv[2])):
    while guard.shedding:
        time.sleep(0.001)
    time.sleep(interval_s * (1 + number % 7 / 7))  # at another moment of the interval each time
    full = time.perf_counter()
    object.__setattr__(guard.limit, "bytes", guard.current.rss_bytes)  # too full from now on
    while not guard.shedding:
        ask()
        time.sleep(0.001)
    late = time.perf_counter() - full
    answers = [ask() for _ in range(200)]
    readings.append({"intervals": late / interval_s, "answers": answers, "status": statuses[-1]})
    object.__setattr__(guard.limit, "bytes", 2**33)
guard.stop()
print(json.dumps(readings))
"""


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--idle", type=float, default=20.0, metavar="SECONDS", help="how long each process sleeps (20)")
    options = parser.parse_args()
    readings: dict[str, list[dict[str, float]]] = {"bare": [], "guarded": []}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.rounds):
            for variant, found in readings.items():
                command = [sys.executable, "-c", _SERVICE, variant, str(options.idle)]
                found.append(json.loads(run(command, Path(name), BARE).output))
        shedding = json.loads(run([sys.executable, "-c", _SHEDDING, "1", "10"], Path(name), BARE).output)
    print_memory_and_cpu(readings)
    print_shedding(shedding)
    figures = {"memory_target": MEMORY_TARGET, "cpu_target": CPU_TARGET, "rounds": readings, "shedding": shedding}
    keep(options.json, "service_guard", figures)


def print_memory_and_cpu(readings: dict[str, list[dict[str, float]]]) -> None:
    """Print what the guard adds: differences within a round, and their median."""
    pairs = list(zip(readings["guarded"], readings["bare"], strict=True))
    memory = median(guarded["uss"] - bare["uss"] for guarded, bare in pairs)
    idle = median(100 * (guarded["cpu"] - bare["cpu"]) for guarded, bare in pairs)
    judging = median(100 * guarded["judge_s"] / _MINUTE_S for guarded, _ in pairs)
    rows = [
        (
            variant,
            f"{median(one['uss'] for one in found) / MIB:.1f}",
            f"{median(100 * one['cpu'] for one in found):.4f}",
        )
        for variant, found in readings.items()
    ]
    show(f"median of {len(pairs)} rounds", ("process", "USS MiB", "idle CPU %"), rows)
    print(
        f"memory of the guard: {memory / MIB:.2f} MiB, {judged(memory, MEMORY_TARGET)} ({MEMORY_TARGET / MIB:.0f} MiB)"
    )
    cpu = idle + judging
    print(f"CPU: {idle:.4f} % idle + {judging:.4f} % judging, {judged(cpu, CPU_TARGET)} ({CPU_TARGET} %)")


def print_shedding(rounds: list[dict[str, list[float]]]) -> None:
    """Print how late the first request is turned away, and how fast."""
    slowest = max(float(one["intervals"]) for one in rounds)  # type: ignore[arg-type] # rows of figures and words
    answer = median(seconds for one in rounds for seconds in one["answers"])
    print(f"shedding begins after {slowest:.2f} intervals at most, {judged(slowest, SHED_TARGET)} ({SHED_TARGET:.0f})")
    print(f"an answer 503 takes {answer * 1e6:.0f} us at the median, {judged(answer, ANSWER_TARGET)} (1 ms)")


if __name__ == "__main__":
    sys.exit(main())
