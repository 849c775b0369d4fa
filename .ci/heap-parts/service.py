# ruff: noqa: INP001 - started by .ci/heap, and imported by nobody
"""A service that keeps every session it was ever asked for; SIGUSR2 writes a heap snapshot."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - looked up when it runs
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pytest_memguard import heap

SESSIONS: dict[str, Session] = {}


class Session:
    """What is remembered of somebody who logged in."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.payload = bytearray(2048)


async def login(_: Request) -> PlainTextResponse:
    """Remember one more session, and never forget it."""
    number = len(SESSIONS)
    SESSIONS[f"user-{number}"] = Session(number)
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/login", login)])
heap.on_signal(os.environ["SNAPSHOTS"])
