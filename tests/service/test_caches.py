"""The bounded caches: what goes when, what is counted, and who may use them at the same time."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import threading
import weakref

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service import caches as room
from pytest_memguard.service.caches import BoundedCache, Caches


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands."""
    return Clock()


def filled(entries: int, size: int = 10, **options: object) -> BoundedCache:
    """Return a cache with the entries 0, 1, 2, ..."""
    cache = BoundedCache("prices", size, **options)  # type: ignore[arg-type]
    for key in range(entries):
        cache[key] = str(key)
    return cache


# -- Entries ---------------------------------------------------------------------------------------------------------


def test_finds_what_was_put_in() -> None:
    """A cache is used as a dictionary."""
    cache = filled(2)

    assert (cache[0], cache.get(1), cache.get(2), cache.get(2, "none")) == ("0", "1", None, "none")
    assert (list(cache), len(cache), 0 in cache, 2 in cache) == ([0, 1], 2, True, False)


def test_missing_key_is_a_key_error() -> None:
    """A key that is not there is named."""
    with pytest.raises(KeyError, match="absent"):
        filled(0)["absent"]


def test_entry_can_be_deleted_and_replaced() -> None:
    """What is deleted is gone, and a second value takes the place of the first."""
    cache = filled(2)
    cache[0] = "new"
    del cache[1]

    assert ({key: cache[key] for key in cache}, len(cache)) == ({0: "new"}, 1)


@pytest.mark.parametrize(("entries", "kept", "evictions"), [(10, list(range(10)), 0), (11, list(range(1, 11)), 1)])
def test_full_cache_makes_room(entries: int, kept: list[int], evictions: int) -> None:
    """The size is reached without an eviction, and one entry more drops the oldest."""
    cache = filled(entries)

    assert (sorted(cache), cache.statistics().evictions) == (kept, evictions)


def test_least_recently_used_goes_first() -> None:
    """A look-up saves an entry."""
    cache = filled(10)
    assert cache[0] == "0"
    cache["new"] = 1

    assert (0 in cache, 1 in cache) == (True, False)


@pytest.mark.parametrize(("now_s", "there"), [(29.9, True), (30.0, False)])
def test_entry_lives_for_its_time(clock: Clock, now_s: float, there: bool) -> None:  # noqa: FBT001 - of a table
    """An entry is there until its time is over, and not after."""
    cache = filled(1, ttl_s=30.0, clock=clock)
    clock.now_s = now_s

    assert ((0 in cache), cache.get(0) is not None) == (there, there)


def test_expired_entry_is_let_go_of_by_figures(clock: Clock) -> None:
    """Values do not wait for the next write to be freed: asking for figures frees them."""

    class Value:
        pass

    value = Value()
    alive = weakref.ref(value)
    cache = filled(0, ttl_s=30.0, clock=clock)
    cache["key"] = value
    del value
    clock.now_s = 31

    assert alive() is not None
    assert (cache.statistics().expired, alive()) == (1, None)


def test_no_time_limit() -> None:
    """Infinity is a time to live."""
    assert filled(3, ttl_s=math.inf).statistics().ttl_s is None


# -- Figures ---------------------------------------------------------------------------------------------------------


def test_statistics_count_look_ups() -> None:
    """Hits and misses are counted for look-ups, not for membership."""
    cache = filled(3)
    for key in (0, 1, 2, 3):
        cache.get(key)
    assert 1 in cache
    figures = cache.statistics()

    assert (figures.name, figures.entries, figures.size) == ("prices", 3, 10)
    assert (figures.hits, figures.misses, figures.hit_rate) == (3, 1, 0.75)


def test_hit_rate_without_look_ups() -> None:
    """Nobody asked: the rate is zero, not an error."""
    assert filled(3).statistics().hit_rate == 0.0


def measured_bytes(entries: int, size: int, value: object) -> int:
    """Return the bytes of a cache that holds *entries* calls of *value*."""
    cache = BoundedCache("sized", size)
    for key in range(entries):
        cache[key] = value(key)  # type: ignore[operator]
    return cache.statistics().bytes


def test_bytes_follow_what_values_refer_to() -> None:
    """Nested values count, and a thousand entries, of which some are looked at, as ten times a hundred."""
    hundred, thousand = (
        measured_bytes(entries, 1000, lambda key: {"rows": [bytes(1000 + key % 7)] * 2}) for entries in (100, 1000)
    )

    assert 100 * 1000 < hundred < 100 * 2000
    assert thousand == pytest.approx(10 * hundred, rel=0.05)


def test_bytes_are_near_what_the_cache_gives_back() -> None:
    """The estimate is within a quarter of what tracemalloc sees, the cache's own cost included."""
    import tracemalloc

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        cache = BoundedCache("sized", 500)
        for key in range(500):
            cache[f"key {key}"] = [float(key), {"name": f"name {key}"}]
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert cache.statistics().bytes == pytest.approx(held, rel=0.25)


def test_shared_value_counts_once() -> None:
    """A hundred entries that share a megabyte hold a megabyte."""
    shared = bytes(2**20)

    assert measured_bytes(100, 100, lambda _: shared) < 1.2 * 2**20


def test_sizer_tells_bytes() -> None:
    """Where the user knows better, the user is asked, and keys and cachetools' own cost are added."""
    figures = filled(10, sizer=lambda _: 1_000_000).statistics()

    assert 10_000_000 < figures.bytes < 10_010_000


def test_failing_sizer_does_not_break_figures(caplog: pytest.LogCaptureFixture) -> None:
    """A sizer that raises is said once, and sizes are estimated from then on."""
    cache = filled(10, sizer=lambda _: 1 // 0)
    with caplog.at_level(logging.ERROR):
        figures = [cache.statistics().bytes, cache.statistics().bytes]

    assert figures[0] > 0
    assert [record.getMessage() for record in caplog.records] == [
        "cache 'prices': its sizer failed; from now on sizes are estimated"
    ]


def test_estimate_keeps_nobody_waiting() -> None:
    """While values are sized, which takes milliseconds, other threads use the cache."""
    answers: list[object] = []

    def sizer(_: object) -> int:
        other = threading.Thread(target=lambda: answers.append(cache.get(0)), daemon=True)
        other.start()
        other.join(5)
        return 1

    cache = filled(1, sizer=sizer)
    cache.statistics()

    assert answers == ["0"]


def test_estimate_is_kept_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that are asked for often are cheap."""
    sized: list[object] = []
    cache = filled(3, sizer=lambda value: sized.append(value) or 1)
    first = (cache.statistics().bytes, cache.statistics().bytes, len(sized))
    cache[9] = "new"
    cache.statistics()

    assert (first[0] == first[1], first[2], len(sized)) == (True, 3, 7)


# -- Clearing and shrinking ------------------------------------------------------------------------------------------


def test_clear_returns_what_was_dropped() -> None:
    """Clearing says how many entries went, and is no eviction."""
    cache = filled(7)

    assert (cache.clear(), len(cache), cache.clear(), cache.statistics().evictions) == (7, 0, 0, 0)


@pytest.mark.parametrize(("share", "dropped"), [(0, 0), (0.1, 1), (0.11, 2), (0.5, 5), (1, 10)])
def test_shrink_drops_a_share(share: float, dropped: int) -> None:
    """A share of the entries goes, rounded up, the least recently used first."""
    cache = filled(10)

    assert cache.shrink(share) == dropped
    assert list(cache) == list(range(dropped, 10))
    assert cache.statistics().evictions == dropped


def test_shrink_drops_expired_entries_first(clock: Clock) -> None:
    """What is over its time counts towards the share."""
    cache = filled(4, ttl_s=30.0, clock=clock)
    clock.now_s = 20
    for key in range(4, 8):
        cache[key] = "new"
    clock.now_s = 31

    assert (cache.shrink(0.5), sorted(cache), cache.statistics().evictions) == (4, [4, 5, 6, 7], 0)


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_shrink_refuses_what_is_no_share(share: float) -> None:
    """A share is from 0 to 1."""
    with pytest.raises(ValueError, match=r"share = .* a share from 0 to 1"):
        filled(1).shrink(share)


# -- Many at once ----------------------------------------------------------------------------------------------------


def test_threads_share_a_cache() -> None:
    """Eight threads at once lose no count and no bound."""
    cache = BoundedCache("shared", 50)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(offset: int) -> None:
        for key in range(500):
            cache[(key + offset) % 90] = key
            cache.get(key % 90)
            if key % 100 == 0:
                cache.shrink(0.1)

    threads = [threading.Thread(target=work, args=(11 * number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    figures = cache.statistics()

    assert figures.hits + figures.misses == 8 * 500
    assert figures.entries == len(list(cache)) <= 50


def test_value_may_use_its_cache_while_it_dies() -> None:
    """A value whose end looks at the cache does not wait for a lock, and finds the cache whole."""
    cache = BoundedCache("shared", 1)
    seen: list[int] = []

    class Value:
        def __del__(self) -> None:
            seen.append(len(cache))

    for _ in range(3):
        cache[object()] = Value()
    cache.clear()

    assert seen == [1, 1, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_can_use_a_cache_that_was_in_use() -> None:
    """A lock that another thread holds is not held in the child."""
    cache = filled(3)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock:
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(5)
    threading.Timer(0.05, leave.set).start()
    child = os.fork()
    if child == 0:
        answer: list[int] = []
        helper = threading.Thread(target=lambda: answer.append(cache.clear()), daemon=True)
        helper.start()
        helper.join(5)
        os._exit(0 if answer == [3] else 1)
    thread.join()

    assert (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(cache)) == (0, 3)


def test_cache_is_freed() -> None:
    """Nothing of the room keeps a cache that nobody uses."""
    cache = filled(3)
    alive = weakref.ref(cache)
    del cache
    gc.collect()

    assert alive() is None


# -- By name ---------------------------------------------------------------------------------------------------------


def test_caches_are_found_by_name() -> None:
    """What was made is there under its name, in order."""
    caches = Caches()
    prices, users = caches.create("prices"), caches.create("users", size=5, ttl_s=1)

    assert (caches.names(), caches.get("users")) == (("prices", "users"), users)
    assert (prices.size, prices.ttl_s, users.size, users.ttl_s) == (1000, 1800, 5, 1)


def test_defaults_are_those_of_the_caches() -> None:
    """A cache without settings gets those that were given to all."""
    cache = Caches(7, 9).create("prices")

    assert (cache.size, cache.ttl_s) == (7, 9)


def test_all_are_cleared_and_shrunk() -> None:
    """What is done to all adds up."""
    caches = Caches()
    for name, entries in (("a", 4), ("b", 6), ("empty", 0)):
        cache = caches.create(name)
        for key in range(entries):
            cache[key] = key

    assert caches.shrink(0.5) == 5
    assert [figures.entries for figures in caches.statistics()] == [2, 3, 0]
    assert (caches.clear("a"), caches.clear_all(), caches.clear_all()) == (2, 3, 0)


def test_all_are_expired(clock: Clock) -> None:
    """What is over its time goes from all caches."""
    caches = Caches(default_ttl_s=30, clock=clock)
    for name in ("a", "b"):
        caches.create(name)["key"] = 1
    clock.now_s = 31

    assert (caches.expire(), caches.expire()) == (2, 0)


@pytest.mark.parametrize("ask", [Caches.get, Caches.clear])
def test_unknown_cache_is_a_key_error(ask: object) -> None:
    """A name that is not there is named."""
    with pytest.raises(KeyError, match="absent"):
        ask(Caches(), "absent")  # type: ignore[operator]


def test_name_is_given_once() -> None:
    """A second cache of a name would mix up two sets of keys."""
    caches = Caches()
    caches.create("prices")

    with pytest.raises(ConfigError, match="there is a cache 'prices' already; give this one another name"):
        caches.create("prices")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "1 to 100 printable characters"),
        ({"name": "x" * 101}, "1 to 100 printable characters"),
        ({"name": "two\nlines"}, "1 to 100 printable characters"),
        ({"name": "\ud800"}, "1 to 100 printable characters"),
        ({"name": 7}, "1 to 100 printable characters"),
        ({"size": 0}, "cache 'a': size = 0; it must be a whole number of entries, 1 or more"),
        ({"size": 1.5}, "size = 1.5"),
        ({"size": True}, "size = True"),
        ({"ttl_s": 0}, "cache 'a': ttl_s = 0; it must be seconds above 0"),
        ({"ttl_s": math.nan}, "ttl_s = nan"),
        ({"ttl_s": "30"}, "ttl_s = '30'"),
    ],
)
def test_wrong_setting_is_named(arguments: dict[str, object], message: str) -> None:
    """A setting that cannot be is refused with its name, its value and what would be right."""
    with pytest.raises(ConfigError, match=message):
        Caches().create(**{"name": "a", **arguments})  # type: ignore[arg-type]


def test_longest_name_and_smallest_size() -> None:
    """The other side of the limits works."""
    cache = Caches().create("x" * 100, size=1, ttl_s=0.001)

    assert (len(cache.name), cache.size) == (100, 1)


def test_number_of_caches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names made from what users send do not become a leak."""
    monkeypatch.setattr(room, "_MOST_CACHES", 2)
    caches = Caches()
    caches.create("a")
    caches.create("b")

    with pytest.raises(ConfigError, match="'c' would be cache 3; use one cache and longer keys"):
        caches.create("c")


def test_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cachetools, a message says what to install."""
    monkeypatch.setitem(sys.modules, "cachetools", None)

    with pytest.raises(ConfigError, match=r'^caches need cachetools: pip install "pytest-memguard\[service\]"$'):
        Caches().create("a")
