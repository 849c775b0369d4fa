"""Leaks that are containers: lists, dictionaries and caches that live as long as the process."""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar

from pytest_memguard.core.values import BLOCKS
from pytest_memguard.demo.leaks._leak import MANY, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Closure", "CyclicCache", "MethodCache", "ModuleList", "RequestLog", "Sessions", "UnboundedCache"]

_KEPT = 32

ORDERS: list[Visit] = []


class ModuleList:
    """
    A list of the module to which every request adds.

    A module lives as long as the process, and so does all that its variables hold. The repair keeps the number that
    was wanted, not the requests it was made from.
    """

    name: ClassVar = "module-list"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-unbounded-list.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self._count = 0

    def leaky(self, visit: Visit) -> int:
        """Return the number of orders, from the list of them all."""
        ORDERS.append(visit)
        return len(ORDERS)

    def fixed(self, visit: Visit) -> int:  # noqa: ARG002 - the repair is that nothing of it is kept
        """Return the number of orders."""
        self._count += 1
        return self._count

    def held(self) -> int:
        """Return the length of the list."""
        return len(ORDERS)

    def release(self) -> None:
        """Empty the list."""
        ORDERS.clear()


class RequestLog:
    """
    A middleware that notes every request with its body "for debugging".

    The middleware is made once and never ends, so its list has no end either. The repair is a ring: the newest
    requests are the ones that somebody looks at.
    """

    name: ClassVar = "request-log"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-unbounded-list.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.entries: list[dict[str, object]] = []
        self.newest: deque[dict[str, object]] = deque(maxlen=_KEPT)

    def leaky(self, visit: Visit) -> None:
        """Note the request."""
        self.entries.append(self._entry(visit))

    def fixed(self, visit: Visit) -> None:
        """Note the request in place of the oldest one."""
        self.newest.append(self._entry(visit))

    def held(self) -> int:
        """Return the number of entries that nobody will look at."""
        return len(self.entries)

    def release(self) -> None:
        """Empty the log."""
        self.entries.clear()
        self.newest.clear()

    @staticmethod
    def _entry(visit: Visit) -> dict[str, object]:
        return {"at": time.time(), "path": visit.path, "body": visit.payload}


class Closure:
    """
    A small function, kept for later, that has hold of a large table.

    A closure keeps each variable that it names, whole, even where it asks for one number of it. The repair works the
    number out first, and drops the function when it has run.
    """

    name: ClassVar = "closure"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-unbounded-list.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.reports: list[Callable[[], int]] = []

    def leaky(self, visit: Visit) -> None:
        """Order a report; its function holds all rows until somebody asks for it, and nobody does."""
        rows = _rows(visit)
        self.reports.append(lambda: len(rows))

    def fixed(self, visit: Visit) -> int:
        """Order a report that holds one number, fetch it, and drop it."""
        count = len(_rows(visit))
        self.reports.append(lambda: count)
        return self.reports.pop()()

    def held(self) -> int:
        """Return the number of reports that were never fetched."""
        return len(self.reports)

    def release(self) -> None:
        """Drop all reports."""
        self.reports.clear()


def _rows(visit: Visit) -> list[bytes]:
    return [visit.payload[start : start + 64] for start in range(0, len(visit.payload), 64)]


@dataclass
class Page:
    """An answer that is worth keeping."""

    address: str
    made_s: float
    headers: dict[str, str]
    body: bytes


PAGES: dict[str, Page] = {}


class UnboundedCache:
    """
    A dictionary used as a cache, with keys that users can make up.

    A cache without a size and an age is a leak with a good hit rate: query strings, user agents and search words never
    run out. The repair is a bound.
    """

    name: ClassVar = "unbounded-cache"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-cache-without-limit.md"
    most: ClassVar = MANY

    def leaky(self, visit: Visit) -> Page:
        """Return the page at an address, which was never asked for before."""
        address = f"{visit.path}?visit={visit.number}"
        if address not in PAGES:
            PAGES[address] = _rendered(address)
        return PAGES[address]

    def fixed(self, visit: Visit) -> Page:
        """Return the page at an address; those that were asked for last are kept."""
        return _kept_page(f"{visit.path}?visit={visit.number}")

    def held(self) -> int:
        """Return the number of pages in the cache."""
        return len(PAGES)

    def release(self) -> None:
        """Empty both caches."""
        PAGES.clear()
        _kept_page.cache_clear()


def _rendered(address: str) -> Page:
    return Page(address, time.time(), {"ETag": f"{hash(address):x}"}, address.encode() * 64)


_kept_page = lru_cache(maxsize=_KEPT)(_rendered)


class PriceList:
    """The prices of one customer, of which one is worked out twice."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    @lru_cache(maxsize=None)  # noqa: B019, UP033 - this is the leak, as it is usually written
    def price(self) -> int:
        """Return the price; the cache belongs to the class and has *self* in its key."""
        return sum(self.visit.payload)

    @cached_property
    def lasting_price(self) -> int:
        """Return the price; the cache belongs to the price list and goes with it."""
        return sum(self.visit.payload)


class MethodCache:
    """
    ``lru_cache`` on a method.

    The cache is an attribute of the class, not of the object, and ``self`` is part of each key: no object that was
    ever asked goes away. The repair is ``cached_property``, which keeps the result in the object.
    """

    name: ClassVar = "method-cache"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-cache-on-method.md"
    most: ClassVar = MANY

    def leaky(self, visit: Visit) -> int:
        """Ask a new price list twice."""
        prices = PriceList(visit)
        return prices.price() + prices.price()

    def fixed(self, visit: Visit) -> int:
        """Ask a new price list twice."""
        prices = PriceList(visit)
        return prices.lasting_price + prices.lasting_price

    def held(self) -> int:
        """Return the number of price lists in the cache."""
        return PriceList.price.cache_info().currsize

    def release(self) -> None:
        """Empty the cache of the class."""
        PriceList.price.cache_clear()


class Revision:
    """One version of a document, which knows the one before it."""

    def __init__(self, visit: Visit, before: Revision | None) -> None:
        self.visit = visit
        self.before = before
        self.after: Revision | None = None
        if before is not None:
            before.after = self


class CarefulRevision:
    """One version of a document, which knows the one before it for as long as somebody else does."""

    def __init__(self, visit: Visit, before: CarefulRevision | None) -> None:
        self.visit = visit
        self.before = weakref.ref(before) if before is not None else None


class CyclicCache:
    """
    A cache with a bound, whose entries refer to each other in circles.

    Every entry knows the one before and the one after it, so what the cache has dropped hangs on what it still holds:
    the bound is kept and memory grows all the same. The repair is a weak reference.
    """

    name: ClassVar = "cyclic-cache"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-cache-without-limit.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.newest: deque[Revision] = deque(maxlen=_KEPT)
        self.careful: deque[CarefulRevision] = deque(maxlen=_KEPT)

    def leaky(self, visit: Visit) -> None:
        """Add a revision that is linked both ways."""
        self.newest.append(Revision(visit, self.newest[-1] if self.newest else None))

    def fixed(self, visit: Visit) -> None:
        """Add a revision that does not keep the one before it."""
        self.careful.append(CarefulRevision(visit, self.careful[-1] if self.careful else None))

    def held(self) -> int:
        """Return the number of revisions that can be reached from the newest."""
        revision, count = (self.newest[-1] if self.newest else None), 0
        while revision is not None:
            revision, count = revision.before, count + 1
        return count

    def release(self) -> None:
        """Empty the cache, and cut the circles."""
        revision = self.newest[-1] if self.newest else None
        while revision is not None:
            revision.after, revision.before, revision = None, None, revision.before
        self.newest.clear()
        self.careful.clear()


@dataclass
class Session:
    """What is known of one visitor."""

    visit: Visit
    basket: list[str]
    seen_s: float


class Sessions:
    """
    A store of sessions that are never too old (case study 1).

    Most visitors leave without a word. A store that waits for their log-out keeps every one of them. The repair gives
    a session an age, and the store a size.
    """

    name: ClassVar = "sessions"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/explanation/case-studies.md"
    most: ClassVar = MANY

    _MAX_AGE_S = 1800.0

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self.recent: OrderedDict[int, Session] = OrderedDict()

    def leaky(self, visit: Visit) -> None:
        """Begin a session."""
        self.sessions[visit.number] = Session(visit, ["tea"], time.monotonic())

    def fixed(self, visit: Visit) -> None:
        """Begin a session, and end those that are too old or too many."""
        now_s = time.monotonic()
        self.recent[visit.number] = Session(visit, ["tea"], now_s)
        while len(self.recent) > _KEPT or self._oldest().seen_s < now_s - self._MAX_AGE_S:
            self.recent.popitem(last=False)

    def held(self) -> int:
        """Return the number of sessions."""
        return len(self.sessions)

    def release(self) -> None:
        """End all sessions."""
        self.sessions.clear()
        self.recent.clear()

    def _oldest(self) -> Session:
        return next(iter(self.recent.values()))
