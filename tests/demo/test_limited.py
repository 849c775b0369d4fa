"""The demo with little memory, guarded and not."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.demo.conftest import Demo

    Serve = Callable[..., AbstractContextManager[Demo]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds RLIMIT_DATA against mapped memory")

MIB = 2**20
LIMIT_BYTES = 256 * MIB
BODY = b'{"bytes": 2097152, "hold": 1}'
REQUEST = (
    b"POST /api/allocate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(BODY), BODY)
)


async def _client(port: int, rate: float, until_s: float, answers: Counter[str]) -> None:
    """Allocate 2 MiB for a second again and again, and count the answers; a request without one is "lost"."""
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        answers[await _status(port)] += 1
        await asyncio.sleep(1 / rate)


async def _status(port: int) -> str:
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(REQUEST)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            return head.split(b" ", 2)[1].decode()
        finally:
            writer.close()
    return "lost"


async def _overload(port: int, seconds: float) -> Counter[str]:
    """Ask for some 400 MiB a second, from four clients."""
    answers: Counter[str] = Counter()
    until_s = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(_client(port, 50, until_s, answers) for _ in range(4)))
    return answers


def test_unguarded_demo_runs_out_of_memory(serve: Serve, tmp_path: Path) -> None:
    """Without the guard the overload ends in MemoryError, in requests without an answer, or in death."""
    with serve(tmp_path, "--unguarded", limit_bytes=LIMIT_BYTES) as demo:
        answers = asyncio.run(_overload(demo.port, 3))

    assert answers["200"] > 0
    assert answers["503"] == 0
    assert answers["500"] + answers["lost"] > 0, answers


def test_guarded_demo_sheds_recovers_and_answers_again(serve: Serve, tmp_path: Path) -> None:
    """With the guard what cannot be served is turned away with 503, nothing is lost, and all is well afterwards."""
    thresholds = {"WARNING": "50%", "CRITICAL": "60%", "EMERGENCY": "70%"}
    environ = {f"MEMORY_{name}_THRESHOLD": share for name, share in thresholds.items()}
    # What is free goes back to the system when the heap is trimmed, and that is done once in this time.
    environ["GC_INTERVAL"] = "500ms"
    with serve(
        tmp_path, limit_bytes=LIMIT_BYTES, MEMORY_MONITORING_INTERVAL="20ms", MEMORY_LEAK_DETECTION="no", **environ
    ) as demo:
        answers = asyncio.run(_overload(demo.port, 3))
        shed = demo.ask("GET", "/health").status
        again = asyncio.run(_until_served(demo.port))

    assert answers["200"] > 0
    assert answers["503"] > 0, answers
    assert set(answers) == {"200", "503"}, answers
    assert shed == 200
    assert again


async def _until_served(port: int) -> bool:
    """Return whether the demo serves again within five seconds."""
    for _ in range(50):
        if await _status(port) == "200":
            return True
        await asyncio.sleep(0.1)
    return False
