"""A process with too little memory: without a guard it dies, with one it turns requests away and recovers."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds anonymous maps against RLIMIT_DATA")

# Each request keeps 128 KiB, nearly a thousand requests a second come, and 128 MiB are there.
_REQUESTS = 1600
_SERVICE = f"""
import json, resource, sys, time
from collections import Counter

from pytest_memguard.service import Caches, watch
from pytest_memguard.service.actions import Action

resource.setrlimit(resource.RLIMIT_DATA, (128 * 2**20, 128 * 2**20))
caches = Caches()


def serve(kept):
    def app(environ, start_response):
        kept[environ["number"]] = bytearray(128 * 1024)
        start_response("200 OK", [])
        return [b"ok"]
    return app


def run(application):
    statuses = []
    for number in range({_REQUESTS}):
        environ = {{"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1", "number": number}}
        answer = application(environ, lambda status, headers: statuses.append(int(status[:3])))
        b"".join(answer)
        getattr(answer, "close", int)()
        time.sleep(0.001)
    return statuses


def guarded(app, **parts):
    settings = {{"platform": "render", "interval_s": 0.02, "gc_interval_s": 0.3, "leak_detection": False}}
    application = watch(app, environ={{}}, **settings, **parts)
    statuses = run(application)
    spells = [status for before, status in zip([0, *statuses], statuses) if status != before]
    print(json.dumps({{
        "source": application.guard.limit.source, "counts": Counter(statuses), "spells": spells,
        "shed": application.guard.shed, "requests": application.guard.requests,
        "actions": application.guard.metrics()["actions"],
    }}))
"""
_UNGUARDED = "run(serve({}))"
_CACHING = "guarded(serve(caches.create('pages', size=1_000_000)), caches=caches)"
_LEAKING = "leak = {}; guarded(serve(leak), actions=[Action('restart the leaky part', 10, 0.99, leak.clear)])"


def run(*parts: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    script = textwrap.dedent("".join(parts))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


def test_unguarded() -> None:
    """It runs out of memory and dies."""
    done = run(_SERVICE, _UNGUARDED)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "MemoryError"


def facts(script: str) -> dict[str, Any]:
    """Return what a guarded service says in the end."""
    done = run(_SERVICE, script)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_guarded() -> None:
    """It answers or turns away every request, none is lost, and it answers again after each emergency."""
    found = facts(_LEAKING)

    assert found["source"] == "RLIMIT_DATA"
    assert set(found["counts"]) == {"200", "503"}
    assert sum(found["counts"].values()) == _REQUESTS
    assert found["shed"] == found["counts"]["503"]
    assert found["requests"] == found["counts"]["200"] > _REQUESTS // 2
    assert found["spells"][:5] == [200, 503, 200, 503, 200]
    assert found["actions"]["restart the leaky part"]["runs"] >= 2


def test_guarded_caches() -> None:
    """Caches that the guard knows are cut when memory is critical, long before anybody is turned away."""
    found = facts(_CACHING)

    assert found["counts"] == {"200": _REQUESTS}
    assert found["actions"]["clean up caches"]["runs"] >= 2
    assert "clear caches" not in found["actions"]
