"""Leaks that are registrations: somebody who lives long was told about somebody who should not."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from pytest_memguard.core.values import BLOCKS
from pytest_memguard.demo.leaks._leak import MANY, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EventListener", "LoggingHandler", "Reconnect", "Subscription"]


class Signal:
    """Tells everybody who asked."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[int], None]] = []

    def connect(self, listener: Callable[[int], None]) -> None:
        """Call *listener* from now on."""
        self.listeners.append(listener)

    def disconnect(self, listener: Callable[[int], None]) -> None:
        """Stop calling *listener*."""
        self.listeners.remove(listener)


PRICE_CHANGED = Signal()


class Cart:
    """Follows the price."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.cents = 0

    def new_price(self, cents: int) -> None:
        """Note a new price."""
        self.cents = cents


class EventListener:
    """
    A listener that is added for each request and never removed.

    A bound method holds its object, so the signal keeps every cart that ever listened. The repair removes the listener
    when its owner is done.
    """

    name: ClassVar = "event-listener"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-listener.md"
    most: ClassVar = MANY

    def leaky(self, visit: Visit) -> None:
        """Let a cart listen."""
        PRICE_CHANGED.connect(Cart(visit).new_price)

    def fixed(self, visit: Visit) -> None:
        """Let a cart listen for as long as it is there."""
        cart = Cart(visit)
        PRICE_CHANGED.connect(cart.new_price)
        try:
            cart.new_price(450)
        finally:
            PRICE_CHANGED.disconnect(cart.new_price)

    def held(self) -> int:
        """Return the number of listeners."""
        return len(PRICE_CHANGED.listeners)

    def release(self) -> None:
        """Remove all listeners."""
        PRICE_CHANGED.listeners.clear()


class Component:
    """A part of a page, which is shown anew whenever the store of the page changes."""

    def __init__(self, visit: Visit, subscribers: dict[int, Component]) -> None:
        self.visit = visit
        self._subscribers = subscribers

    def mount(self) -> None:
        """Appear on the page, and subscribe to its store."""
        self._subscribers[id(self)] = self

    def unmount(self) -> None:
        """Leave the page, and its store too."""
        del self._subscribers[id(self)]


class Subscription:
    """
    A component that subscribes to a store and goes without a word.

    The store belongs to the application and calls whoever subscribed; a component that left the page is still in its
    table. The repair pairs every mount with an unmount.
    """

    name: ClassVar = "subscription"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-listener.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.subscribers: dict[int, Component] = {}

    def leaky(self, visit: Visit) -> None:
        """Show a component."""
        Component(visit, self.subscribers).mount()

    def fixed(self, visit: Visit) -> None:
        """Show a component, and take it away."""
        with _shown(Component(visit, self.subscribers)):
            pass

    def held(self) -> int:
        """Return the number of components in the store."""
        return len(self.subscribers)

    def release(self) -> None:
        """Forget all components."""
        self.subscribers.clear()


@contextmanager
def _shown(component: Component) -> Iterator[None]:
    component.mount()
    try:
        yield
    finally:
        component.unmount()


class Connection:
    """One connection of the client, which is made anew whenever the line is cut."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def on_message(self, _length: int) -> None:
        """Take a message."""

    def on_close(self, _code: int) -> None:
        """Note the end."""


class Reconnect:
    """
    A client that adds its listeners again each time it connects (case study 2).

    The line is cut, the client connects anew and registers its two listeners, beside those of the connection that is
    gone: each message is then handled once for every reconnect there ever was. The repair takes the old ones off
    first.
    """

    name: ClassVar = "reconnect"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/explanation/case-studies.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.messages = Signal()
        self.closings = Signal()
        self._current: Connection | None = None

    def leaky(self, visit: Visit) -> None:
        """Connect anew."""
        self._listen(Connection(visit))

    def fixed(self, visit: Visit) -> None:
        """Connect anew, after the old connection was taken off."""
        if self._current is not None:
            self.messages.disconnect(self._current.on_message)
            self.closings.disconnect(self._current.on_close)
        self._current = Connection(visit)
        self._listen(self._current)

    def held(self) -> int:
        """Return the number of listeners of connections that are gone."""
        return len(self.messages.listeners) + len(self.closings.listeners)

    def release(self) -> None:
        """Take all listeners off."""
        self._current = None
        self.messages.listeners.clear()
        self.closings.listeners.clear()

    def _listen(self, connection: Connection) -> None:
        self.messages.connect(connection.on_message)
        self.closings.connect(connection.on_close)


AUDIT = logging.getLogger("pytest_memguard.demo.audit")
AUDIT.propagate = False


class RequestHandler(logging.Handler):
    """Collects what is logged during one request."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit = visit

    def emit(self, record: logging.LogRecord) -> None:
        """Take no record: what is logged is of no matter here."""


class LoggingHandler:
    """
    A logging handler that is added for each request.

    Loggers live as long as the process, and so do their handlers; each line is then written once for every request
    there ever was. The repair removes the handler in a ``finally``.
    """

    name: ClassVar = "logging-handler"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-logging-handler.md"
    most: ClassVar = 20_000

    def leaky(self, visit: Visit) -> None:
        """Collect the log of the request."""
        AUDIT.addHandler(RequestHandler(visit))

    def fixed(self, visit: Visit) -> None:
        """Collect the log of the request while it lasts."""
        handler = RequestHandler(visit)
        AUDIT.addHandler(handler)
        try:
            AUDIT.warning("request %d", visit.number)
        finally:
            AUDIT.removeHandler(handler)
            handler.close()

    def held(self) -> int:
        """Return the number of handlers that nobody removes."""
        return len(_left_behind())

    def release(self) -> None:
        """Remove these handlers."""
        for handler in _left_behind():
            AUDIT.removeHandler(handler)
            handler.close()


def _left_behind() -> list[logging.Handler]:
    return [handler for handler in AUDIT.handlers if isinstance(handler, RequestHandler)]
