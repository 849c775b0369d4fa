"""Bodies that do not come."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pytest_memguard.demo import api
from pytest_memguard.demo.schema import integer, record


async def _nothing() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError("the event is never set")


async def _run(_call: api.Call) -> None:
    raise AssertionError("the body never came")


def test_slow_client_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come in time is answered with 408, and its operation never runs."""
    monkeypatch.setattr(api, "_BODY_TIMEOUT_S", 0.01)
    operation = api.Operation("POST", "/", "x", _run, {}, body=record({"bytes": integer(1, 2)}))
    headers = [(b"content-type", b"application/json")]
    request = Request(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}, _nothing
    )

    with pytest.raises(HTTPException, match=r"the body took more than 0\.01 s") as refused:
        asyncio.run(api._answer(operation, request))

    assert refused.value.status_code == 408
