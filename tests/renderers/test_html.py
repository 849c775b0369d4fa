"""The page: one file, complete without a script, whatever the names in it are."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import time
from array import array
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from pytest_memguard import registry
from pytest_memguard.core import document
from pytest_memguard.core.compare import compare
from pytest_memguard.core.values import BLOCKS, Estimate, Finding, Level, Phase, Readings, RunResult, Shape, Trend
from pytest_memguard.renderers import _templates, html

#: Elements that HTML lets a writer leave open.
_VOID = {"meta", "br", "input", "link", "img", "hr"}
_INLINE = {"a", "b", "code", "span", "strong", "i"}
_OPEN = {"li", "dt", "dd", "tr", "td", "th", "tbody", "thead", "p"}


class Page(HTMLParser):
    """What a browser would find in a page: elements with their attributes, and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text = ""
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the beginning of an element."""
        self.elements.append((tag, dict(attrs)))
        self.text += "" if tag in _INLINE else " "
        if tag not in _VOID | _OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element that ends at once."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Take the end of an element."""
        self.text += "" if tag in _INLINE else " "
        if tag in _OPEN:
            return
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        """Take text."""
        if not {"script", "style"} & set(self.stack):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def flat(text: str) -> str:
    """Return *text* with every run of white space as one blank."""
    return " ".join(text.split())


def documents_in(text: str) -> list[str]:
    """Return the documents that the page offers for download."""
    found = []
    for kind, content in re.findall(r'href="data:application/(\w+);base64,([^"]*)"', text):
        raw = base64.b64decode(content)
        found.append((gzip.decompress(raw) if kind == "gzip" else raw).decode())
    return found


# -- what it says ----------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first(sample: RunResult) -> None:
    """The title and the heading tell in a sentence what was found, and the worst of it."""
    page = html.render(sample)
    heading = flat(Page(page[page.index("<h1") : page.index("</h1>")] + "</h1>").text)

    assert heading == (
        "Leak. 2 of 7 tests keep more memory or resources with every run. The dearest,"
        " tests/test_shop.py::test_search, gains +7 blocks, +1.1 KiB heap a run."
        " 2 tests could not be measured or were left out."
    )
    assert flat(Page(page[page.index("<title") : page.index("</title>") + 8]).text).startswith("Leak: 2 of 7 tests")


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ((), "Nothing checked. No verdict was reached."),
        ((Level.CLEAN,), "No leak found. In 1 test, nothing that can be counted kept growing"),
        ((Level.SKIPPED,), "Nothing checked. No verdict was reached. 1 test could not be measured or was left out."),
        ((Level.CLEAN, Level.GROWING), "Not decided. 1 of 2 tests still grows, too little or too unevenly"),
        ((Level.LEAK, Level.CLEAN), "Leak. 1 of 2 tests keeps more memory or resources with every run."),
    ],
)
def test_the_verdict_of(sample: RunResult, levels: tuple[Level, ...], says: str) -> None:
    """A session without a leak says what was looked at, and never that nothing was found where nothing was checked."""
    clean = sample.results[3]
    results = tuple(
        replace(clean, id=f"t{at}", verdict=replace(clean.verdict, level=one)) for at, one in enumerate(levels)
    )
    page = html.render(replace(sample, results=results))

    assert says in flat(Page(page[page.index("<h1") : page.index("</h1>") + 5]).text)


def test_an_accepted_leak_is_no_new_one(sample: RunResult) -> None:
    """A session whose leaks are all accepted says so."""
    page = html.render(replace(sample, results=(sample.results[2], sample.results[3])))

    assert "No new leak found. In 2 tests" in flat(Page(page).text)
    assert "Accepted for a while: 1 known leak." in page


@pytest.mark.parametrize(
    "says",
    [
        "shop.catalog._CACHE",  # the cause
        "+2.1 KiB heap, +14 blocks a run in 2 tests; expected loss 3.0 KiB a run",
        "What to do: bound the cache: functools.lru_cache(maxsize=...)",
        "._CACHE attribute, dict grows by +1 a run",  # the path
        "Held by: shop.catalog._CACHE, which has no limit: +1 entry a run",
        "shop/catalog.py:41 search +1.1 KiB, +7 blocks a run",  # the site
        "Calls shop/catalog.py:41 search tests/test_shop.py::test_search",
        "native heap +1.1 KiB 1.1 KiB to 1.1 KiB (95 %) +67.7 KiB sampled in step with the number of runs",
        "blocks of Python memory +7 exactly +441 counted exactly the same amount every run",
        "How this verdict came about: leak, 99 of 100: +7 blocks a run, exact over 63 more runs.",
        "+441 blocks over 63 runs; fitted +7 a run, accepted none; exactly the same amount every run.",
        "fitted +1.1 KiB a run, accepted 256 B a run; in step with the number of runs.",
        "confirm 30 runs +210",
        "points 96.3",
        "growth rate 40 of 40, consistent growth 20 of 20",
        "so do 89.2 % of leaking and at most 0.0083 % of clean tests; 0.2 % are expected to leak",
        "The 2 tests that have it tests/test_shop.py::test_search tests/test_shop.py::test_search_again",
        "Note: sizes of C objects are not known",
        "Repeat: pytest tests/test_shop.py::test_search --memguard",
        "accepted 99 /var/log/shop",  # what has no readings and no holder
        "There are no readings to draw.",
        "bounded (1) tests/test_rest.py::test_bounded what grows is shop.PAGES, which holds at most 128",
        "settled (1) tests/test_rest.py::test_settled it grew at first and then stopped",
        "1 test: it failed when it was run again tests/test_rest.py::test_unmeasured",
        "1 test: starts a server tests/test_rest.py::test_skipped",
        "resident memory 0 B 4.0 KiB yes",  # the control run
        "mode -",
        "memory limit 1.0 GiB",
        "commit: branch main",
        "To repeat all of it: pytest --memguard",
        "Download memguard-1.json",
    ],
)
def test_without_a_script_it_says(sample: RunResult, says: str) -> None:
    """Every section stands in the page itself, and needs no script."""
    assert says in flat(Page(html.render(sample)).text)


def test_causes_are_ordered_by_what_they_lose(sample: RunResult) -> None:
    """An open descriptor weighs 64 KiB, and so more than a kibibyte a run."""
    page = html.render(sample)

    assert re.findall(r'<h4 id="r1-c\d-h"><span class="badge \w+">(\w+)', page) == ["accepted", "leak", "growing"]


def test_every_result_has_a_row(sample: RunResult) -> None:
    """The table of all tests has them all, the worst first, with a link to what is known of it."""
    page = html.render(sample)
    table = page[page.index('<table class="all"') :]
    rows = re.findall(r"<tr(?: class=(\w+))?><td>(\w+)<td>(\d*)<td>(?:<a href=\"#([\w-]+)\">)?([^<]*)", table)

    assert rows == [
        ("leak", "accepted", "99", "r1-c1", "tests/test_log.py::test_log"),
        ("leak", "leak", "99", "r1-c2", "tests/test_shop.py::test_search"),
        ("leak", "leak", "99", "r1-c2", "tests/test_shop.py::test_search_again"),
        ("growing", "growing", "60", "r1-c3", "tests/test_rest.py::test_growing"),
        ("", "bounded", "1", "", "tests/test_rest.py::test_bounded"),
        ("", "settled", "0", "", "tests/test_rest.py::test_settled"),
        ("", "clean", "0", "", "tests/test_shop.py::test_buy"),
        ("", "unmeasured", "", "", "tests/test_rest.py::test_unmeasured"),
        ("", "skipped", "", "", "tests/test_rest.py::test_skipped"),
    ]


def test_each_chart_has_its_numbers_as_a_table(sample: RunResult) -> None:
    """Every reading that is drawn stands in a table: its run, and what was gained since the first."""
    page = html.render(sample)
    table = page[page.index('<table class="readings">') :]
    table = table[: table.index("</table>")]
    rows = re.findall(r"<tr><td>(\d+)<td>([^<]*)<td>([^<\n]*)", table)

    assert len(rows) == 66
    assert rows[:3] == [("0", "0", "0 B"), ("1", "+7", "+1.1 KiB"), ("2", "+14", "+2.2 KiB")]
    assert rows[-1][:2] == ("63", "+441")
    assert page.count('role="img"') == 2


def test_several_documents(sample: RunResult) -> None:
    """Several sessions make one page: an entry in the selector, a section and a document each, and no id twice."""
    quiet = replace(sample, results=sample.results[3:4], environment={"python": "3.14.0"})
    text = html.pages([("a/run.json", sample), ("b.json.gz", quiet)])
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]

    assert "a/run.json CPython 3.13.0, Linux-6.1, x86_64, 2026-01-02T03:04:05+00:00: Leak" in flat(page.text)
    assert "b.json.gz 3.14.0, 2026-01-02T03:04:05+00:00: No leak found" in flat(page.text)
    assert len(ids) == len(set(ids))
    assert documents_in(text) == [document.dumps(sample), document.dumps(quiet)]


def _later(sample: RunResult) -> RunResult:
    """Return a session after *sample*: its cache grows ten times as fast, and nothing else is measured again."""
    search = sample.results[0]
    worse = tuple(
        replace(one, trend=replace(one.trend, slope=Estimate(10 * one.trend.slope.point, 10, 20_000)))
        for one in search.findings
    )
    return replace(sample, results=(replace(search, findings=worse), sample.results[3]))


def test_a_comparison(sample: RunResult) -> None:
    """What changed comes first, then both sessions; charts of the later one show the earlier one as a dashed line."""
    text = html.comparison(compare(sample, _later(sample)))
    page = flat(Page(text).text)

    assert "Worse leaks. 1 worse, from 0123456789 (2026-01-02) to 0123456789 (2026-01-02)." in page
    assert "worse +7 -> +70 blocks a run shop.catalog._CACHE 86427d04fdadfef2 tests/test_shop.py::test_search" in page
    assert "after: 0123456789 (2026-01-02)" in page
    assert text.count('<polyline class="before"') == 2
    assert "baseline" in page


def test_a_comparison_with_a_baseline_without_readings(sample: RunResult) -> None:
    """Of a baseline that keeps no readings the growth a run is drawn."""
    outline = replace(sample, results=tuple(replace(one, readings=None, plan=None) for one in sample.results))
    text = html.comparison(compare(outline, _later(sample)))

    assert len(re.findall(r'<polyline class="before" points="\S+ \S+"/>', text)) == 2


def test_a_comparison_of_the_same(sample: RunResult) -> None:
    """Where nothing is new, the page says so, hostile names and all."""
    assert "<strong>No new leak.</strong>" in html.comparison(compare(sample, sample))
    assert "<strong>Not compared.</strong>" in html.comparison(compare(RunResult("", 0.0), RunResult("", 0.0)))


# -- what it is ------------------------------------------------------------------------------------------------------


def test_it_is_well_formed(sample: RunResult) -> None:
    """Every element is closed, ids are there once, and links within the page lead somewhere."""
    page = Page(html.render(sample))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    targets = [link["href"][1:] for link in page.all("a") if (link["href"] or "").startswith("#")]

    assert (page.stack, page.wrong) == ([], [])
    assert len(ids) == len(set(ids))
    assert set(targets) <= set(ids)


def test_it_fetches_nothing_and_runs_only_what_is_in_it(sample: RunResult) -> None:
    """The policy forbids all but the page's own style and scripts, named by their hashes; nothing has an address."""
    text = html.render(sample)
    page = Page(text)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta) or ""
    bodies = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies}

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert set(re.findall(r"'sha256-[^']*'", policy)) == hashes
    assert len(hashes) == 3
    assert not any({"src", "srcset", "style"} & set(attributes) for _, attributes in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert all((link["href"] or "").startswith(("#", "data:application/")) for link in page.all("a"))
    assert page.all("link") == page.all("img") == page.all("iframe") == []


def test_hostile_names_are_only_text(hostile: RunResult) -> None:
    """No name makes an element, ends one, moves a cursor or turns text round; it can be written as UTF-8."""
    text = html.pages([("run.json", hostile), ("</title><script>", hostile)])
    page = Page(text)

    assert page.wrong == []
    assert page.all("img") == []
    assert len(page.all("script")) == text.count("<script")
    assert [tag for tag, attributes in page.elements if tag == "script" and attributes.get("type") is None] == [
        "script"
    ] * 2
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert "{{7*7}}" in unescape(text)
    assert "\\x1b[31m\\u202e\\ud800" in text
    assert text.encode()


def test_the_document_can_be_downloaded(sample: RunResult, hostile: RunResult) -> None:
    """The page holds the document itself, in a link that works without a script."""
    assert documents_in(html.render(sample)) == [document.dumps(sample)]
    assert documents_in(html.render(hostile)) == [document.dumps(hostile)]


def test_a_large_document_is_offered_compressed(large: RunResult) -> None:
    """It is the same document, and smaller."""
    text = html.render(large)

    assert "Download memguard-1.json.gz" in text
    assert documents_in(text) == [document.dumps(large)]


def test_the_same_session_gives_the_same_bytes(sample: RunResult) -> None:
    """Nothing of the page depends on when or where it is made; what was stored gives it again."""
    assert html.render(sample) == html.render(document.loads(document.dumps(sample)))


def test_ten_thousand_tests(large: RunResult) -> None:
    """A page of 10,000 tests, 200 of which leak, is made within 3 s and 5 MB."""
    began = time.process_time()
    text = html.render(large)
    spent = time.process_time() - began

    assert len(text.encode()) < 5_000_000
    assert spent < 3


# -- odd sessions ----------------------------------------------------------------------------------------------------


def test_a_session_of_nothing() -> None:
    """A document without any result makes a page as well."""
    page = Page(html.render(RunResult("", 0.0)))

    assert "Nothing kept growing." in page.text
    assert "No control run is in this document." in page.text


@pytest.mark.parametrize(
    "slope",
    [Estimate(1e308, -1e308, 1e308), Estimate(0.0, 0.0, 0.0), Estimate(-5.0, -6.0, 1e300)],
)
@pytest.mark.parametrize("values", [[], [5], [5, 5], [0, 2**62, -(2**62), 2**62, 0], [9, 7, 5, 3, 1]])
def test_odd_numbers(sample: RunResult, slope: Estimate, values: list[int]) -> None:
    """Whatever a document may hold, there is a page, and NaN or infinity in no coordinate of it."""
    runs = tuple(range(len(values)))
    readings = Readings((BLOCKS,), runs, (Phase.SCREEN,) * len(values), array("q", values))
    finding = Finding(BLOCKS, Trend(Shape.LATE, slope, 4), 5, "0f")
    result = replace(sample.results[0], readings=readings, findings=(finding,))
    text = html.render(replace(sample, results=(result,)))
    drawn = "".join(re.findall(r'(?:points|d|x|y|width|height)="[^"]*"', text)) + "".join(
        re.findall(r'class="plotted">(.*?)</script>', text)
    )

    assert not re.search(r"nan|inf|Infinity|NaN", drawn)


def test_more_readings_than_a_screen_shows(sample: RunResult) -> None:
    """Ten thousand readings are thinned, and the one that stands out stays."""
    values = [*range(9_999), 50_000]
    readings = Readings((BLOCKS,), tuple(range(10_000)), (Phase.SCREEN,) * 10_000, array("q", values))
    text = html.render(replace(sample, results=(replace(sample.results[0], readings=readings),)))

    assert text.count("<tr><td>") < 500
    assert "<td>+50000" in text


# -- where it comes from ---------------------------------------------------------------------------------------------


def test_it_enters_by_the_hook(sample: RunResult) -> None:
    """The page is a renderer of the registry, by its name."""
    assert registry.renderers()["html"](sample) == html.render(sample)


def test_what_is_vendored_is_what_it_says() -> None:
    """The files of uPlot are those whose hashes stand beside them, and their licence is there."""
    vendor = _templates.folder() / "vendor"
    listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (vendor / "uPlot.txt").read_text(encoding="utf-8"), re.MULTILINE)

    assert {name for _, name in listed} == {"uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
    assert all(hashlib.sha256((vendor / name).read_bytes()).hexdigest() == known for known, name in listed)


def test_templates_that_are_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation says what is missing."""
    monkeypatch.setattr(_templates, "_NAME", "nowhere")

    with pytest.raises(FileNotFoundError, match="nowhere is neither in pytest_memguard nor beside it"):
        _templates.folder()


def test_only_text_gets_into_a_page() -> None:
    """A number that was not made into text is a mistake, and not a number with fifteen digits."""
    with pytest.raises(TypeError, match=r"0\.1 is not text"):
        _templates._shown(0.1)
