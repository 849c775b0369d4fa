"""The scenario that ``memguard soak --init`` writes: every section, each with its reason."""

from __future__ import annotations

__all__ = ["EXAMPLE"]

EXAMPLE = """\
# What to start, how to load it, and what must hold. Try it with: memguard soak scenario.toml
# ${NAME} and ${NAME:-default} are variables of the environment; ${MEMGUARD_PORT} is a free port that is chosen
# for you, ${MEMGUARD_PYTHON} the interpreter that runs memguard.

name = "shop"

[service]                              # of several: [service.shop], [service.worker]; the first one is loaded
command = ["${MEMGUARD_PYTHON}", "-m", "uvicorn", "shop:app", "--port", "${MEMGUARD_PORT}"]
ready_url = "http://127.0.0.1:${MEMGUARD_PORT}/health"    # asked until it answers below 400
ready_timeout_s = 30
# cwd = "."                            # from the folder of this file
# env = { LOG_LEVEL = "warning" }
# memory_limit = "512 MiB"             # above it the run ends; the service sees it as MEMORY_LIMIT
# stop_timeout_s = 10                  # from TERM to KILL
# agent = false                        # for a service that is no Python program

[idle]
duration_s = 2                         # before the first request

[warm_up]
duration_s = 10                        # imports, pools and caches come now, and do not count

[load]
rate = 100                             # requests a second; without it each connection sends as fast as it is answered
connections = 10
duration_s = 60
routes = ["/"]                         # or [[load.routes]] with path, method, weight, headers, body, expect
# url = "http://127.0.0.1:8000/"       # where the service is, if it is not where its ready_url is
# timeout_s = 10
# headers = { Accept = "application/json" }
# engine = "locust"                    # or "command", for k6, wrk, oha, vegeta

[sampling]
interval_s = 0.2                       # between two readings
# collect = false                      # no collections under load: a little sharper latency, a much duller verdict

[diagnose]
when = "auto"                          # auto: only where something grew; always; off
duration_s = 5                         # of load with allocations traced, after what counts

[cool_down]
duration_s = 3                         # does it come back?
trim = true                            # give free memory back to the system first

[thresholds]
limits = [
  "growth<64B/request",                # what may stay a request; without it any growth that is sure is a leak
  "p(95)<250ms",
  "errors<1%",
  # "rss<300MiB", "uss<250MiB", "rss_growth<50MiB", "blocks<1/request", "rate>90", "fds<10", "threads<5",
  # { limit = "rss<400MiB", abort_after_s = 5 },           # ends the run where it is not kept for so long
]
# abort_after_s = 10                   # the same for all of them

# [[step]]                             # what `memguard baseline` measures one after the other; usual steps without
# name = "idle"
"""
