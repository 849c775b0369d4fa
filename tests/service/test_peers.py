"""Who may ask the endpoints."""

from __future__ import annotations

import pytest

from pytest_memguard.service.peers import near

_ALLOWED = ("10.1.0.0/16", "2001:db8::/32", "192.0.2.7")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may(peer: str) -> None:
    """Loopback addresses of every form may ask."""
    assert near(peer)


@pytest.mark.parametrize("peer", ["10.1.0.0", "10.1.255.255", "2001:db8::1", "192.0.2.7", "::ffff:10.1.2.3"])
def test_allowed_peers_may(peer: str) -> None:
    """An address of an allowed network may ask, and only where that is allowed."""
    assert near(peer, _ALLOWED)
    assert not near(peer)


@pytest.mark.parametrize(
    "peer", ["10.0.255.255", "10.2.0.0", "192.0.2.6", "2001:db9::1", "128.0.0.1", "0.0.0.1", "::", "::ffff:128.0.0.1"]
)
def test_others_may_not(peer: str) -> None:
    """An address just beside what is allowed may not ask."""
    assert not near(peer, _ALLOWED)


@pytest.mark.parametrize(
    "peer", [None, "", "unix", "localhost", "testclient", "127.0.0.1, 8.8.8.8", "127.1", "\uff11\uff12\uff17.0.0.1"]
)
def test_what_is_no_address_may_not(peer: str | None) -> None:
    """A connection without an address may not ask, whatever stands in its place."""
    assert not near(peer, _ALLOWED)
