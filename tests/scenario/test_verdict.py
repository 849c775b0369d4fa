"""The verdict on one process, from made readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from pytest_memguard.agent.outside import ProcessReading
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS
from pytest_memguard.scenario.sampling import Moment
from pytest_memguard.scenario.verdict import Judged, Says, Settled, judge

N = 100  # readings, ten requests apart
WARM = 2000  # requests that were completed before them
Counter = Callable[[float], float]


def flat(_: float) -> float:
    """Stay."""
    return 0


def reading(at: float, blocks: Counter, heap: Counter, rss: Counter, fds: Counter) -> ProcessReading:
    """Return what a process that is at *at* of its run would read."""
    return ProcessReading(
        pid=1,
        started_s=0.0,
        name="python",
        rss_bytes=int(5e7 + rss(at)),
        fds=int(8 + fds(at)),
        threads=1,
        heap_bytes=int(5e6 + heap(at)),
        blocks=int(1e5 + blocks(at)),
    )


def judged(  # noqa: PLR0913 - one argument a counter
    *,
    blocks: Counter = flat,
    heap: Counter = flat,
    rss: Counter = flat,
    fds: Counter = flat,
    after: Counter | None = None,
    settled: int = 0,
    n: int = N,
    begun: float = WARM,
) -> Judged:
    """
    Judge *n* readings.

    *after* gives the blocks that are there afterwards, *settled* how many were read between, *begun* the requests that
    were completed by the first.
    """
    moments = [Moment(float(at), begun + at * 10.0, reading(at, blocks, heap, rss, fds)) for at in range(n)]
    during = [Settled(begun + at * 10.0, reading(at, blocks, heap, rss, fds)) for at in range(0, n, max(1, n // 15))]
    before = Settled(begun, reading(0, blocks, heap, rss, fds))
    end = Settled(begun + n * 10.0, reading(n, after or blocks, heap, rss, fds))
    return judge("it", moments, before, [end], during=during[:settled], unit="request")


def test_clean() -> None:
    """What does not move is clean, with next to no score."""
    one = judged()

    assert (one.says, one.reason) == (Says.CLEAN, "nothing grows with each request")
    assert one.score < 5


def test_leak() -> None:
    """A block and a kilobyte for each request are a leak, by that much."""
    one = judged(blocks=lambda at: 10 * at, heap=lambda at: 10240 * at)

    assert one.says is Says.LEAK
    assert one.score == pytest.approx(99)
    assert one.per_request == {BLOCKS: pytest.approx(1, rel=0.02), HEAP: pytest.approx(1024, rel=0.02)}
    assert one.bytes_per_request == pytest.approx(1024 + 64, rel=0.02)
    assert one.reason == (
        "memory blocks of Python +0.99 a request and native heap +1013.7 B a request, without slowing down, "
        "and it stays when the load is over"
    )


def test_comes_back() -> None:
    """What rises under load and is gone after a collection is no leak."""
    one = judged(blocks=lambda at: 10 * at, after=flat)

    assert one.says is Says.COMES_BACK
    assert one.per_request == {}


@pytest.mark.parametrize(("share", "says"), [(0.45, Says.COMES_BACK), (0.55, Says.LEAK)])
def test_half_of_it_comes_back(share: float, says: Says) -> None:
    """The line between garbage and a leak is half of the growth."""
    assert judged(blocks=lambda at: 10 * at, after=lambda at: 10 * at * share).says is says


def test_slows() -> None:
    """A cache that fills rises and slows down."""
    one = judged(blocks=lambda at: 2000 * (1 - 0.95**at))

    assert one.says is Says.SLOWS
    assert one.score < 5


@pytest.mark.parametrize(("total", "says"), [(90, Says.CLEAN), (130, Says.LEAK)])
def test_least(total: float, says: Says) -> None:
    """A hundred blocks in a whole run are not worth a word, more are."""
    assert judged(blocks=lambda at: total * at / N * 14 / 13).says is says


def test_fragments() -> None:
    """Resident memory that rises alone is told apart."""
    one = judged(rss=lambda at: 2e5 * at)

    assert one.says is Says.FRAGMENTS
    assert one.growing[0][0] is RSS


def test_descriptors() -> None:
    """Descriptors leak too."""
    one = judged(fds=lambda at: at)

    assert (one.says, one.growing[0][0]) == (Says.LEAK, FDS)


def swinging(leak: float) -> Counter:
    """Return a counter with the saw teeth of a collector, and a leak below them."""
    return lambda at: leak * at + 400 * ((at * 7) % 23)


def test_settled_readings_see_below_the_swing() -> None:
    """Readings behind collections show a leak that swings hide."""
    leak = swinging(8)
    moments = [Moment(float(at), WARM + at * 10.0, reading(at, leak, flat, flat, flat)) for at in range(N)]
    clean: Counter = lambda at: 8 * at  # noqa: E731 - a counter beside the other
    settled = [Settled(WARM + at * 10.0, reading(at, clean, flat, flat, flat)) for at in range(0, N, 7)]

    without = judge("it", moments, settled[0], settled[-1:], unit="request")
    behind = judge("it", moments, settled[0], settled[-1:], during=settled, unit="request")

    assert (without.says, without.needs) == (Says.NEEDS_MORE, 2.0)
    assert behind.says is Says.LEAK


# Requests and blocks of a leak of 8 blocks a request, read behind collections while its machine stood still again and
# again: readings come close together, and noise undoes the order of these.
_STALLED = (
    (90, 186562), (146, 187573), (182, 187873), (183, 187925), (209, 187698), (289, 188684), (289, 188680),
    (300, 188537), (378, 189498), (379, 189479), (389, 189312),
)  # fmt: skip


def test_stalled_machine_hides_no_leak() -> None:
    """Readings whose line rises ask for a longer run where their order tells nothing: they are not called clean."""
    settled = [
        Settled(WARM + at, ProcessReading(1, 0.0, "python", 40_000_000, blocks=blocks)) for at, blocks in _STALLED
    ]
    moments = [Moment(at / 5, WARM + 90 + at * 10, settled[at // 3].reading) for at in range(30)]
    one = judge("it", moments, settled[0], settled[-1:], during=settled, unit="request")

    assert (one.says, one.needs) == (Says.NEEDS_MORE, 2.0)
    assert "which is too uneven for a verdict" in one.reason


@pytest.mark.parametrize(("per_request", "says"), [(0.45, Says.CLEAN), (0.55, Says.NEEDS_MORE)])
def test_suspect(per_request: float, says: Says) -> None:
    """Where only the two ends were read well, half a block a request asks for a longer run."""
    one = judged(blocks=swinging(0), after=lambda at: per_request * 10 * at)

    assert one.says is says


@pytest.mark.parametrize(("n", "needs"), [(27, 28 / 27), (14, 2.0)])
def test_too_few_readings(n: int, needs: float) -> None:
    """Too few readings say nothing, but how many times as long would do."""
    one = judged(blocks=lambda at: 10 * at, n=n)

    assert (one.says, one.needs) == (Says.NEEDS_MORE, needs)
    assert one.reason == f"{n} readings under load are too few, 28 are needed"


def test_too_few_requests() -> None:
    """Nor do too few requests."""
    moments = [Moment(float(at), at / 10, reading(at, flat, flat, flat, flat)) for at in range(N)]

    one = judge("it", moments, None, [], unit="request")

    assert (one.says, one.reason) == (Says.NEEDS_MORE, "9.9 requests are too few, 28 are needed")


@pytest.mark.parametrize(("every", "says"), [(N // 14, Says.LEAK), (N // 13 + 1, Says.NEEDS_MORE)])
def test_requests_that_are_seldom_counted(every: int, says: Says) -> None:
    """A load that tells its requests too seldom proves nothing, neither a leak nor that there is none."""
    grows: Counter = lambda at: 100 * at  # noqa: E731 - a counter beside the other
    moments = [
        Moment(float(at), WARM + at // every * every * 10.0, reading(at, grows, flat, flat, flat)) for at in range(N)
    ]

    one = judge("it", moments, None, [], unit="request")

    assert one.says is says


def test_without_agent() -> None:
    """Of what is no Python, resident memory decides."""
    moments = [Moment(float(at), at * 10.0, ProcessReading(1, 0.0, "nginx", int(1e7 + 1e5 * at))) for at in range(N)]

    one = judge("it", moments, None, [], unit="request")

    assert (one.says, one.growing[0][0]) == (Says.LEAK, RSS)


# What a clean http.server had behind collections, 50 requests a second from its start: requests, blocks, heap in KiB.
_WARMING = (
    (26, 71736, 3659), (46, 71744, 3658), (66, 71821, 3658), (86, 71845, 3658), (106, 71886, 3659), (126, 71924, 3659),
    (146, 72000, 3659), (166, 72015, 3659), (186, 72070, 3659), (206, 72106, 3659), (226, 72138, 3659),
    (245, 72259, 3671), (266, 72200, 3659), (286, 72228, 3659), (307, 72273, 3659),
)  # fmt: skip


def _of_http_server(begun: float) -> Judged:
    """Judge what a clean http.server read, as if *begun* requests had been before."""
    read = [
        ProcessReading(1, 0.0, "python", 40_000_000, heap_bytes=kib * 1024, blocks=blocks)
        for _, blocks, kib in _WARMING
    ]
    settled = [Settled(begun + at, one) for (at, *_), one in zip(_WARMING, read, strict=True)]
    moments = [Moment(at / 5, begun + at * 10, read[at // 2]) for at in range(30)]
    return judge("it", moments, settled[0], settled[-1:], during=settled, unit="request")


def test_clean_service_warms_up() -> None:
    """What a service fills in its first 300 requests is no leak, and a run past 2,000 would tell."""
    one = _of_http_server(begun=0)

    assert one.says is Says.NEEDS_MORE
    assert one.score <= 50
    assert one.needs == pytest.approx(1.1 * 2000 / 537)  # 537 blocks came
    assert one.per_request == {}
    assert one.reason.endswith("a request, as a service may do in its first 2,000 requests")


def test_warm_service_leaks() -> None:
    """The same readings of a service that has warmed up are a leak."""
    assert _of_http_server(begun=WARM).says is Says.LEAK


@pytest.mark.parametrize(("begun", "says"), [(WARM - 991, Says.NEEDS_MORE), (WARM - 990, Says.LEAK)])
def test_first_requests(begun: float, says: Says) -> None:
    """A block a request is a leak once 2,000 requests are over."""
    assert judged(blocks=lambda at: 10 * at, settled=15, begun=begun).says is says


@pytest.mark.parametrize(("total", "says"), [(1950, Says.NEEDS_MORE), (2050, Says.LEAK)])
def test_more_blocks_than_a_warm_up(total: float, says: Says) -> None:
    """More than 2,000 blocks are no warm-up, however few requests brought them."""
    assert judged(blocks=lambda at: total * at / 84, settled=15, begun=0, n=N - 10).says is says


@pytest.mark.parametrize(("kib", "says"), [(125, Says.NEEDS_MORE), (131, Says.LEAK)])
def test_more_heap_than_a_warm_up(kib: float, says: Says) -> None:
    """Nor are more than 128 KiB of heap."""
    one = judged(heap=lambda at: kib * 1024 * at / 84, settled=15, begun=0, n=N - 10)

    assert one.says is says


@pytest.mark.parametrize(("each", "says"), [(0.4, Says.NEEDS_MORE), (0.5, Says.LEAK)])
def test_more_descriptors_than_a_pool(each: float, says: Says) -> None:
    """Forty descriptors may be a pool that fills."""
    assert judged(fds=lambda at: each * at, settled=15, begun=0).says is says


def test_needs_until_it_is_no_warm_up() -> None:
    """A run tells once more came than a warm-up brings, or the first requests are over."""
    much = judged(blocks=lambda at: 19 * at, settled=15, begun=0)
    little = judged(blocks=lambda at: 2 * at, settled=15, begun=0)

    assert much.needs == pytest.approx(1.1 * 2000 / (19 * 90), rel=0.1)
    assert little.needs == pytest.approx(1.1 * 2000 / 990)


def test_sure_growth_leads() -> None:
    """Beside heap that is a leak for sure, blocks that may be warm-up come second."""
    one = judged(blocks=lambda at: 10 * at, heap=lambda at: 20480 * at, settled=15, begun=0)

    assert one.says is Says.LEAK
    assert [metric for metric, _ in one.growing] == [HEAP, BLOCKS]


def test_noise() -> None:
    """Noise of the size of what a real service shows is called a leak next to never."""
    says = [_noisy(Random(seed)).says for seed in range(200)]  # noqa: S311 - noise

    assert says.count(Says.LEAK) == 0
    assert says.count(Says.NEEDS_MORE) <= 10


def _noisy(random: Random) -> Judged:
    walk: Sequence[float] = _walk(random)
    return judged(
        blocks=lambda _: random.gauss(0, 300),
        heap=lambda at: walk[int(at)],
        rss=lambda at: 10 * walk[int(at)],
        fds=lambda _: random.randint(0, 3),
        settled=15,
    )


def _walk(random: Random) -> list[float]:
    at, steps = 0.0, [0.0]
    for _ in range(N + 1):
        at += random.choice((-4096, 0, 4096))
        steps.append(at)
    return steps
