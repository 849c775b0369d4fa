"""What was watched over time: a service and a process in every text, and in the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import pytest

from pytest_memguard.core import document
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS, Level, RunResult, Series, SubjectResult
from pytest_memguard.renderers import charts, github, gitlab, html, junit, markdown, sarif, terminal, timelines

PHASES = (("idle", 0.0, 2.0), ("warm-up", 2.0, 5.0), ("load", 5.0, 15.0), ("cool-down", 16.0, 20.0))


@pytest.fixture
def watched() -> RunResult:
    """Return a test, a service with two workers that leak, its repaired twin, and a process that was monitored."""
    return document.loads((Path(__file__).parent / "watched.json").read_text(encoding="utf-8"))


@pytest.fixture
def service(watched: RunResult) -> SubjectResult:
    """Return the service that leaks."""
    return watched.results[1]


@pytest.fixture
def process(watched: RunResult) -> SubjectResult:
    """Return the process."""
    return watched.results[3]


def text(lines: str) -> str:
    """Return an indented block without its indent."""
    return dedent(lines).strip("\n")


def as_demo(run: RunResult) -> RunResult:
    """Return *run* as `memguard demo` makes it: its services are our own, told to leak."""
    scenarios = json.loads(json.dumps(run.settings["scenarios"]))
    for one in scenarios.values():
        one["services"][0]["command"] = ["python", "-c", "...", "serve", "--leak", "unbounded-cache"]
    return replace(run, settings={"scenarios": scenarios})


def test_a_service(service: SubjectResult) -> None:
    """Growth of all processes together is told a request, with the command that soaks it and the limit that accepts."""
    assert terminal.failure(service) == text("""
        leak, 99 of 100: shop, leaky
        +5 blocks, +1.0 KiB native heap a request, over 1000 requests
        in step with the number of requests

        grew      blocks of Python memory  +3.8 a request    +3750 in all (3.6 to 3.9)
                  native heap              +768 B a request  +750.0 KiB in all (756 B to 780 B)
                  blocks of Python memory  +1.2 a request    +1250 in all (1.2 to 1.3)
                  native heap              +256 B a request  +250.0 KiB in all (252 B to 260 B)
        made at   shop/pages.py:41 rendered  +1.0 KiB, +5 blocks a request
        types     shop.pages.Page  +48 B, +1 object a request
        path      module shop.pages
                    .SEEN: dict, +1 a request   <- grows
        advice    bound shop.pages.SEEN
        note      shop: worker (process 12): memory blocks of Python +1.3 a request

        readings             blocks  heap
                  at 0 s     200000  8.00 MiB
                  highest    205000  8.98 MiB
                  at 20.0 s  205000  8.98 MiB
        repeat    memguard soak shop.toml
        accept    limits = ["growth<1479B/request"] below [thresholds] in its scenario
    """)


def test_a_process(process: SubjectResult) -> None:
    """Growth is told a second and an hour; there is a command for it, and nothing that would accept it."""
    assert terminal.failure(process) == text("""
        leak, 70 of 100: python worker.py
        +1.0 KiB native heap a second (+3.5 MiB an hour), over 20.0 s
        in step with time

        grew      native heap  +1.0 KiB a second  +20.0 KiB in all (1000 B to 1.0 KiB)
        advice    take two heap snapshots
        note      process 77, 21 readings

        readings             heap
                  at 0 s     8.0000 MiB
                  highest    8.0195 MiB
                  at 20.0 s  8.0195 MiB
        repeat    memguard monitor -d 20 -- COMMAND
    """)


@pytest.mark.parametrize(
    ("file", "name", "command"),
    [
        ("shop.toml", "shop", ["memguard soak shop.toml"]),
        ("my shop.json", "shop", ["memguard soak 'my shop.json'"]),
        ("pyproject.toml", "shop", ["memguard soak 'pyproject.toml#shop'"]),
        ("tests/test_shop.py", "tests/test_shop.py::test_soak", ["pytest tests/test_shop.py::test_soak"]),
        ("", "shop", []),
    ],
)
def test_how_to_repeat(service: SubjectResult, file: str, name: str, command: list[str]) -> None:
    """A scenario is soaked again from where it stands; one that stands nowhere has no command."""
    lines = terminal.failure(replace(service, file=file, id=name)).splitlines()

    assert [line[10:] for line in lines if line.startswith("repeat")] == command


def test_without_a_count_of_requests(service: SubjectResult) -> None:
    """A load whose requests nobody counted is told over seconds, and no limit speaks of that."""
    lines = terminal.failure(replace(service, runs=0)).splitlines()

    assert (
        lines[1]
        == "+5 blocks, +1.0 KiB native heap a second (+18000 blocks, ...)".replace(
            "+18000 blocks, ...", "+18000, +3.5 MiB an hour"
        )
        + ", over 21.0 s"
    )
    assert not [line for line in lines if line.startswith("accept")]


def test_the_summary(watched: RunResult) -> None:
    """Tests, services and processes are counted as what they are."""
    assert terminal.summary(watched) == text("""
        memguard: 1 test, 2 services and 1 process checked: 2 leak, 1 settled, 1 clean
          leak 99  +5 blocks, 1.0 KiB a request  1000 requests  shop, leaky
          leak 70  +1.0 KiB heap a second        20.0 s  python worker.py
    """)


def test_one_line(service: SubjectResult, process: SubjectResult) -> None:
    """The short summary has the unit as well."""
    assert terminal.short(service) == "+5 blocks, +1.0 KiB heap a request (leak 99)"
    assert terminal.short(process) == "+1.0 KiB heap a second (leak 70)"


def test_annotations(watched: RunResult) -> None:
    """A notice a cause, its title in its own unit, with the command that soaks it again."""
    assert github.render(watched).splitlines() == [
        (
            "::error file=shop/pages.py,line=41,title=Memory leak%3A +1.0 KiB heap%2C +5 blocks a request%2C score 99"
            "::shop.pages.SEEN%0Ain shop, leaky%0Abound shop.pages.SEEN%0Arepeat: memguard soak shop.toml"
            "%0Afingerprint: 00c0ffee00c0ffee"
        ),
        (
            "::error title=Memory leak%3A +1.0 KiB heap a second (+3.5 MiB an hour)%2C score 70"
            "::native heap: +3.5 MiB an hour, without slowing down%0Ain python worker.py%0Atake two heap snapshots"
            "%0Arepeat: memguard monitor -d 20 -- COMMAND%0Afingerprint: 17e074c1beb67f5f"
        ),
    ]


def test_a_comment(watched: RunResult) -> None:
    """Heading and table say what leaks: services and processes, not tests."""
    lines = markdown.render(watched).splitlines()

    assert lines[2] == "## memguard: 1 of 2 services and 1 of 1 process leak, 2 causes"
    assert lines[6:10] == [
        "| | what | cause | services and processes | allocated at |",
        "| --- | --- | --- | ---: | --- |",
        (
            "| :red_circle: | <code>Memory leak&#58; +1.0 KiB heap, +5 blocks a request, score 99</code>"
            " | <code>shop.pages.SEEN</code> | 1 | <code>shop/pages.py&#58;41</code> |"
        ),
        (
            "| :red_circle: | <code>Memory leak&#58; +1.0 KiB heap a second &#40;+3.5 MiB an hour&#41;, score 70</code>"
            " | <code>native heap&#58; +3.5 MiB an hour, without slowing down</code> | 1 |  |"
        ),
    ]


def test_places_of_what_is_no_file(watched: RunResult) -> None:
    """A process has no file: its name is not taken for one, where a format wants a place."""
    paths = [one["location"]["path"] for one in json.loads(gitlab.render(watched))]
    results = json.loads(sarif.render(watched))["runs"][0]["results"]

    assert paths == ["shop/pages.py", "unknown"]
    assert results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "unknown"
    assert results[0]["message"]["text"].splitlines()[-1] == "Repeat it: memguard soak shop.toml"


def test_properties(service: SubjectResult, process: SubjectResult) -> None:
    """Properties carry the unit in their names; of several processes together there is no interval."""
    of_service, of_process = dict(junit.properties(service)), dict(junit.properties(process))

    assert of_service["memguard.requests"] == "1000"
    assert of_service["memguard.heap_per_request"] == "1024"
    assert "memguard.heap_per_request_low" not in of_service
    assert of_process["memguard.heap_per_second_low"] == "1000"
    assert not [name for name in (*of_service, *of_process) if name.endswith(("_per_run", ".runs"))]
    assert 'classname="memguard.scenario" name="shop, leaky"' in junit.render(RunResult("", 0.0, results=(service,)))


# -- timelines -------------------------------------------------------------------------------------------------------


def long_timeline(number: int) -> tuple[Series, ...]:
    """Return two series of *number* readings, each with a spike and a dip that last for one of them."""
    x = tuple(at / 5 for at in range(number))
    flat = [1000.0] * number
    flat[number // 3], flat[number // 2] = 9000.0, 1.0
    rss = [4e7 + at for at in range(number)]
    rss[number // 7], rss[number // 5] = 9e7, 1e6
    return Series(BLOCKS, x, tuple(flat), "second"), Series(RSS, x, tuple(rss), "second")


def test_few_readings_are_all_shown() -> None:
    """As many times as a screen shows stay as they are; one more is too many."""
    for number, shown in ((800, 800), (801, 801)):
        times = timelines.shown_times(long_timeline(number), most=800)

        assert (len(times) == shown) is (number == 800)


def test_spikes_survive() -> None:
    """Of a day at 5 Hz 800 times stay at most, among them the highest and the lowest reading of each series."""
    timeline = long_timeline(432_000)
    times = timelines.shown_times(timeline)

    assert len(times) <= 800
    assert times[0] == 0.0
    assert times[-1] == timeline[0].x[-1]
    for series in timeline:
        read = dict(zip(series.x, series.values, strict=True))
        shown = [read[at] for at in times]
        assert (min(shown), max(shown)) == (min(series.values), max(series.values))


def test_each_series_has_its_own_times(service: SubjectResult) -> None:
    """What was read more rarely has its own points, and gaps in the table."""
    times = timelines.shown_times(service.timeline)
    drawn = list(timelines.charts_of(service, times, PHASES, {}))
    rows = dict(timelines.rows(service, times, PHASES, [one.metric for one in drawn]))

    assert [one.x for one in drawn if one.metric.name == "uss"] == [(0.0, 5.0, 10.0, 15.0, 20.0)]
    assert rows["idle"][:2] == (
        ("0 s", "200000", "8.00 MiB", "9", "40.0 MiB", "30.00 MiB", "0"),
        ("1 s", "200000", "8.00 MiB", "9", "40.0 MiB", "", "0"),
    )
    assert list(rows) == ["idle", "warm-up", "load", "cool-down"]


def test_the_fit_stands_under_the_load(service: SubjectResult) -> None:
    """Growth a request is drawn over the seconds in which the requests came; workers are summed up."""
    chart = next(timelines.charts_of(service, service.timeline[0].x, PHASES, {}, [BLOCKS]))

    assert chart.line is not None
    assert (chart.line.first, chart.line.last) == (5.0, 15.0)
    assert (chart.line.slope.point, chart.line.slope.low, chart.line.slope.high) == pytest.approx((500, 475, 525))


def test_a_fit_without_counted_requests(service: SubjectResult) -> None:
    """Where only their sum is known, requests count as if they had come evenly."""
    bare = replace(service, timeline=service.timeline[:2])
    chart = next(timelines.charts_of(bare, bare.timeline[0].x, PHASES, {}, [HEAP]))

    assert chart.line is not None
    assert chart.line.slope.point == pytest.approx(1024 * 100)


def test_a_limit_is_drawn_where_it_is_near(service: SubjectResult) -> None:
    """A limit far above what was read would make a flat line of it, and is left to the table."""
    near, far = (
        next(timelines.charts_of(service, service.timeline[0].x, PHASES, {"rss": limit * 2**20}, [RSS]))
        for limit in (48.0, 480.0)
    )

    assert ("allowed", "limit") in charts.legend(near)
    assert ("allowed", "limit") not in charts.legend(far)
    assert charts.svg(near, "a", "").count('class="allowed"') == 1
    assert charts.svg(far, "a", "").count('class="allowed"') == 0


def test_axes_of_time(service: SubjectResult) -> None:
    """Hours are told as hours; values near each other get as many digits as tell them apart."""
    series = Series(HEAP, (0.0, 3600.0, 36_000.0), (8.0 * 2**20, 8.01 * 2**20, 8.02 * 2**20), "second")
    chart = next(timelines.charts_of(replace(service, timeline=(series,), findings=()), series.x, (), {}))

    assert chart.x_ticks() == (
        "hours", [(0.0, "0"), (7200.0, "2"), (14400.0, "4"), (21600.0, "6"), (28800.0, "8"), (36000.0, "10")]
    )  # fmt: skip
    texts = [text for _, text in chart.y_ticks()]
    assert len(texts) == len(set(texts)) > 2


def test_nothing_moves(service: SubjectResult) -> None:
    """A series that stands still has a picture too."""
    series = Series(FDS, (0.0, 1.0), (9.0, 9.0), "second")
    chart = next(timelines.charts_of(replace(service, timeline=(series,), findings=()), series.x, (), {}))

    assert chart.bottom < 9 < chart.top
    assert "9" in charts.svg(chart, "a", "")


# -- the page --------------------------------------------------------------------------------------------------------


class _Text(HTMLParser):
    """The text of a page outside of its scripts; what is no part of a line stands apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tag = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the beginning of an element."""
        self.tag = tag
        self.parts.append("" if tag in {"a", "b", "code", "span", "strong", "i"} else " ")

    def handle_endtag(self, tag: str) -> None:
        """Take the end of an element."""
        self.tag = ""
        self.parts.append("" if tag in {"a", "b", "code", "span", "strong", "i"} else " ")

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.parts.append("" if self.tag in {"script", "style"} else data)


def flat(page: str) -> str:
    """Return the text of a page, every run of white space as one blank."""
    return " ".join("".join(_Text(page).parts).split())


def test_the_first_screen(watched: RunResult) -> None:
    """It says what leaks of which kind, by how much over what, who holds it, and what to do."""
    page = html.render(watched)
    first = flat(page[page.index("<h1") : page.index('<dl class="figures">')])

    assert first == (
        "Leak. 1 of 2 services and 1 of 1 process keep more memory or resources with every request or second."
        " The dearest, shop, leaky, gains +5 blocks, +1.0 KiB heap a request."
        " run 1 service shop, leaky +1.0 KiB heap, +5 blocks a request held by shop.pages.SEEN"
        " What to do: bound shop.pages.SEEN"
        " process python worker.py +1.0 KiB heap a second (+3.5 MiB an hour) What to do: take two heap snapshots"
        " CPython 3.13.0, Linux-6.1, x86_64, 2026-01-02T03:04:05+00:00"
    )


def test_what_leaks_on_purpose(watched: RunResult) -> None:
    """The demo's report says that it leaks on purpose; nobody else's does."""
    says = "These leaks are there on purpose: this is memguard's demo, and nothing of yours was measured."

    assert says in flat(html.render(as_demo(watched)))
    assert says not in flat(html.render(watched))


@pytest.mark.parametrize(
    "says",
    [
        "growth<64B/request not kept 1.3 KiB a request",
        "p(95)<250ms kept 75 ms",
        "errors<1% kept 0.2 %",
        "rss<50MiB kept 48.5 MiB",
        "rate>90 kept not measured",
        "answered not sent a second failed latency p50 latency p99 1000 3 100 timeout 2 4 ms 154 ms",
        "shop: worker (12) leak +1.2 blocks, +256 B heap a request blocks +1.3 a request",
        "clean 0 service shop, repaired nothing grows with each request.",
        "resident memory: 40.0 MiB at first, 48.6 MiB at most, 41.5 MiB in the end.",
        (
            "blocks of Python memory: 200000 at first, 205000 at most, 205000 in the end;"
            " fitted +500 a second (475 to 525)."
        ),
        "5 s 200000 8.00 MiB 9 40.0 MiB 30.00 MiB 0",
        "Note: shop: worker (process 12): memory blocks of Python +1.3 a request",
        "python -m shop --port 8000",
        "Repeat: memguard soak shop.toml",
        'Accept, below [thresholds] in its scenario: limits = ["growth<1479B/request"]',
        "Counter A request Interval In all",
        "blocks of Python memory +3.8 3.6 to 3.9 (95 %) +3750 counted in step with the number of requests",
        "All tests, services and processes",
    ],
)
def test_the_page_says(watched: RunResult, says: str) -> None:
    """Limits, load, processes, charts and numbers of each service are in the page, without a script."""
    assert says in flat(html.render(watched))


def test_undecided(watched: RunResult, service: SubjectResult) -> None:
    """A service that nothing can be said of says so, and is drawn all the same."""
    verdict = replace(service.verdict, level=Level.UNMEASURED, score=0.0, reason="let it run for 60 s")
    page = html.render(replace(watched, results=(replace(service, verdict=verdict, findings=()),)))

    assert "not decided 0 service shop, leaky let it run for 60 s." in flat(page)
    assert "Nothing checked. No verdict was reached. 1 service could not be measured or was left out." in flat(page)
    assert page.count("<svg viewBox") == 6


@pytest.mark.parametrize(
    "section",
    [
        None, [], "text", {"name": "shop, leaky"},
        {"name": "shop, leaky", "limits": [{"limit": "rss<9 MB/s", "measured": 10**400}, {"limit": "rss<1 GiB"}]},
        {"name": "shop, leaky", "limits": [1, {"limit": 5}], "phases": [{}, 3, {"begin_s": "a", "end_s": None}],
         "processes": [{"per_request": 7}, None], "services": [{"command": "x"}, 4],
         "load": {"errors": [], "completed": "?"}},
    ],
)  # fmt: skip
def test_settings_of_any_shape(watched: RunResult, section: object) -> None:
    """Settings are whatever a document holds: what is not understood is left out."""
    page = html.render(replace(watched, settings={"scenario": section}))

    assert "service shop, leaky memory blocks" in flat(page)


def test_a_long_watch_is_drawn_in_little(watched: RunResult, service: SubjectResult) -> None:
    """Of forty thousand readings 800 stand in the page, and it says so."""
    page = html.render(replace(watched, results=(replace(service, timeline=long_timeline(40_000), findings=()),)))
    table = page[
        page.index('<table class="readings">') : page.index("</table>", page.index('<table class="readings">'))
    ]

    assert "readings of 40000, with every highest and lowest" in flat(page)
    assert 300 < table.count("<tr><td>") <= 800


@pytest.mark.parametrize(
    ("x", "values"), [((0.0, 1.0), (1e300, -1e300)), ((-1e300, 1e300), (1.0, 2.0)), ((5.0,), (0.0,))]
)
def test_numbers_of_any_size(
    watched: RunResult, service: SubjectResult, x: tuple[float, ...], values: tuple[float, ...]
) -> None:
    """A document may hold numbers that no chart can show; there is a page all the same."""
    found = replace(service, timeline=(Series(BLOCKS, x, values, "second"), *service.timeline[1:]))
    page = html.render(replace(watched, results=(found,)))

    assert "NaN" not in page[: page.index("<script>")]
    assert "nan" not in "".join(re.findall(r'(?:points|d|x|y)="[^"]*"', page))
