"""A service for tests, with MODE and PORT: answers every request, and keeps something of each or not."""

import asyncio
import os
import signal
import sys
from collections import deque

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KEPT: list[object] = []
LAST: deque[object] = deque(maxlen=10)


class Node:
    """Part of a ring, which only the collector frees."""


def repaired() -> None:
    """Keep the last ones, and leave garbage behind."""
    one, other = Node(), Node()
    one.next, other.next = other, one  # type: ignore[attr-defined]
    LAST.append(bytearray(1024))


KEEP = {
    "leaky": lambda: KEPT.append(bytearray(1024)),
    "repaired": repaired,
    "dies": lambda: os._exit(7) if len(KEPT) > 100 else KEPT.append(b""),
}


class Answering(asyncio.Protocol):
    """Answers each request."""

    def __init__(self, mode: str) -> None:
        self.keep = KEEP.get(mode, KEEP["repaired"])
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            _, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.keep()
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def serve(mode: str, port: int) -> None:
    """Answer until the end."""
    server = await asyncio.get_running_loop().create_server(lambda: Answering(mode), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Do what the mode says, then serve."""
    mode, port = sys.argv[1], int(sys.argv[2])
    if mode == "ignores TERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "prints":
        for _ in range(64):
            sys.stdout.write("x" * (1 << 20) + "\n")
    if mode == "forks and leaves" and os.fork():
        os._exit(0)
    if mode == "has a worker" and not os.fork():
        signal.pause()
    asyncio.run(serve(mode, port))


if __name__ == "__main__":
    main()
