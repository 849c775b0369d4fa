"""What a stored document becomes for a CI service: annotations, Markdown, SARIF, GitLab's list, JUnit XML."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft4Validator, Draft7Validator

from pytest_memguard import registry, store
from pytest_memguard.core.compare import compare
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    Estimate,
    Finding,
    Holder,
    Level,
    Metric,
    RunResult,
    Shape,
    Site,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.renderers import github, markdown
from pytest_memguard.renderers.junit import properties
from pytest_memguard.renderers.notices import notices, rebased

SCHEMAS = Path(__file__).parent / "schemas"
FORMATS = ("github", "gitlab", "junit", "markdown", "sarif")
#: Everything that any of the formats gives a meaning to.
HOSTILE = (
    "<script>alert(1)</script> & \" ' ` ``` ]]> %0A ::error::x | \\| [a](http://x) ![i](y) @everyone #1 "
    "<!-- memguard -->"
    "\x1b[31mred\x1b[0m\u202egnp\ud800\0\x85\u2028\r\n::stop-commands::x\n</details>"
)
STACK = ("shop/cart.py:16 Cart.__init__", "tests/test_shop.py:36 test_cart")


def finding(metric: Metric = BLOCKS, rate: float = 6.0, **fields: object) -> Finding:
    """Return a metric that grows by *rate* a run, with what *fields* say of it."""
    return Finding(metric, Trend(Shape.EXACT, Estimate(rate, rate, rate), 33), total=rate * 65, **fields)


def result(
    name: str, *findings: Finding, level: Level = Level.LEAK, score: float = 99.4, **fields: object
) -> SubjectResult:
    """Return one test's result, of the file that its id begins with."""
    file = fields.pop("file", name.partition("::")[0])
    verdict = Verdict(level, score, fields.pop("reason", "it grew"))
    return SubjectResult(
        name, "test", verdict, runs=66, duration_s=0.5, file=file, line=34, findings=findings, **fields
    )


def session(*results: SubjectResult, **fields: object) -> RunResult:
    """Return a session of *results*."""
    return RunResult("2026-01-01T02:00:00+02:00", 5.0, results=results, **fields)


def leak(
    name: str = "tests/test_shop.py::test_cart", fingerprint: str = "31e18ff503247592", **fields: object
) -> SubjectResult:
    """Return a leak that is allocated in a file of the project."""
    site = Site("shop/cart.py", 16, "Cart.__init__", 64.0, 1.0, STACK)
    one = finding(fingerprint=fingerprint, sites=(site,), advice="remove each listener", **fields)
    return result(name, one, holder=Holder("unbounded", "shop.events.BUS"))


SHOP = session(
    leak(),
    leak("tests/test_shop.py::test_till"),
    result(
        "tests/test_shop.py::test_print",
        finding(FDS, 1.0, fingerprint="308069b66958e3e0", names=("/dev/null",)),
    ),
    result("tests/test_native.py::test_zip[a::b]", finding(HEAP, 4096.0), level=Level.GROWING, score=80.0),
    result("tests/test_shop.py::test_ok", level=Level.CLEAN, reason="it stands still"),
    result("tests/test_shop.py::test_later", level=Level.UNMEASURED, reason="over the budget"),
    environment={"python": "3.13.0", "implementation": "CPython", "packages": {"pytest-memguard": "0.1.0"}},
    commit={"sha": "0123456789abcdef", "dirty": True},
)
EVIL = session(
    result(
        f"tests/{HOSTILE}.py::test[{HOSTILE}]",
        finding(
            fingerprint=HOSTILE,
            sites=(Site(f"shop/{HOSTILE}.py", -3, HOSTILE, 64.0, 1.0, ("", "tests/test_shop.py:36 test_cart")),),
            advice=HOSTILE,
            names=(HOSTILE,),
        ),
        holder=Holder("unbounded", HOSTILE),
        reason=HOSTILE,
        file=f"tests/{HOSTILE.replace(':', '')}.py",
        notes=(HOSTILE,),
    ),
    result(HOSTILE, level=Level.SKIPPED, reason=HOSTILE),
    environment={"python": HOSTILE, "implementation": HOSTILE, "packages": {"pytest-memguard": HOSTILE}},
    commit={"sha": HOSTILE, "dirty": None},
)


def many(number: int) -> RunResult:
    """Return a session of so many leaks, each with a cause of its own."""
    return session(*(leak(f"tests/test_shop.py::test_{at}", f"{at:016x}") for at in range(number)))


def rendered(name: str, run: RunResult) -> str:
    """Return *run* in the format of that name, as the registry gives it."""
    return registry.renderers()[name](run)


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("run", [SHOP, EVIL, session()], ids=["shop", "evil", "empty"])
def test_a_stored_document_renders_to_anything(name: str, run: RunResult, tmp_path: Path) -> None:
    """What was written and read again gives the same text as the session itself, and it is text that can be written."""
    store.write(run, tmp_path / "run.json.gz")

    text = rendered(name, store.read(tmp_path / "run.json.gz"))

    assert text == rendered(name, run)
    assert text.encode() or (name, run) == ("github", session())


@pytest.mark.parametrize("name", sorted({*FORMATS, "terminal"} | {"html"} & set(registry.renderers())))
def test_all_formats_are_renderers_of_the_registry(name: str) -> None:
    """Each enters by the hook, under its name, and takes a session alone."""
    assert rendered(name, SHOP)


@pytest.mark.parametrize("name", FORMATS)
def test_names_from_outside_print(name: str) -> None:
    """No control character, half a pair or mark that turns the line round comes through."""
    text = rendered(name, EVIL)

    assert [char for char in text if not char.isprintable() and char != "\n"] == []


# -- where -----------------------------------------------------------------------------------------------------------


def test_a_library_is_no_place_to_point_to() -> None:
    """Of a library's line, named from its package on, nothing is below the project: the test is shown instead."""
    site = Site("json/decoder.py", 40, "decode", 10.0, 1.0, ("json/decoder.py:40 decode",))

    (notice,) = notices(session(result("tests/test_shop.py::test", finding(fingerprint="f", sites=(site,)))))

    assert [(place.file, place.line) for place in notice.places] == [("tests/test_shop.py", 34)]


@pytest.mark.parametrize("file", ["/usr/lib/x.py", "../x.py", "C:/x.py", "<doctest x>", "\\\\host\\x.py", ""])
def test_what_is_not_below_the_project_is_no_place(file: str) -> None:
    """Absolute paths, those of the folders above and what is no file are left out."""
    (notice,) = notices(session(result("t.py::test", finding(fingerprint="f"), file=file)))

    assert notice.places == ()
    assert notice.place.file == "t.py"


def test_a_project_that_is_a_part_of_its_repository() -> None:
    """Own files are moved below the folder of the project; those of libraries stay as they are."""
    foreign = Site("json/decoder.py", 40, "decode", 1000.0, 1.0, ("json/decoder.py:40 decode",))
    run = session(replace(leak(), findings=(replace(leak().findings[0], sites=(*leak().findings[0].sites, foreign)),)))

    moved = rebased(run, "services/shop/")

    assert [site.file for site in moved.results[0].findings[0].sites] == [
        "services/shop/shop/cart.py",
        "json/decoder.py",
    ]
    assert moved.results[0].file == "services/shop/tests/test_shop.py"
    assert notices(moved)[0].places[0].file == "services/shop/shop/cart.py"
    assert rebased(run, ".") is run


# -- GitHub ----------------------------------------------------------------------------------------------------------


def test_annotations() -> None:
    """A leak is an error at the line that allocates, growth a warning at its test."""
    assert (
        rendered("github", SHOP)
        == dedent("""\
        ::error file=tests/test_shop.py,line=34,title=Memory leak%3A +1 fd a run%2C score 99::/dev/null\
        %0Ain tests/test_shop.py::test_print%0Arepeat: pytest tests/test_shop.py::test_print --memguard\
        %0Afingerprint: 308069b66958e3e0
        ::error file=shop/cart.py,line=16,title=Memory leak%3A +12 blocks a run%2C score 99::shop.events.BUS\
        %0Ain tests/test_shop.py::test_cart, tests/test_shop.py::test_till%0Aremove each listener\
        %0Arepeat: pytest tests/test_shop.py::test_cart --memguard%0Afingerprint: 31e18ff503247592
        ::warning file=tests/test_native.py,line=34,title=Memory grows%3A +4.0 KiB heap a run%2C score 80::it grew\
        %0Ain tests/test_native.py::test_zip[a::b]%0Afingerprint: e0d2afc17a2d92ad
    """)
        .replace("        %0A", "%0A")
        .rstrip()
    )


def test_eight_annotations_and_a_pointer() -> None:
    """The ninth is counted, with the tenth and all others, in one more."""
    eight, nine = rendered("github", many(8)).splitlines(), rendered("github", many(12)).splitlines()

    assert len(eight) == 8
    assert len(nine) == 9
    assert nine[-1] == (
        "::notice title=memguard::4 more causes of growth not shown here: see the summary of this job, or the report"
    )


def test_an_accepted_leak_has_no_annotation() -> None:
    """What was accepted, or is in the baseline, is no news."""
    assert rendered("github", session(leak(status="known"))) == ""


def test_a_name_cannot_make_a_command() -> None:
    """However a name looks, there is one command, with the properties that it should have."""
    (line,) = rendered("github", EVIL).splitlines()

    match = re.fullmatch(r"::error file=([^,:]*),line=34,title=([^,:]*)::(.*)", line)
    assert match
    assert "%25" in match[1]
    assert re.sub("%0A|%25", "", match[3]).count("%") == 0


# -- Markdown --------------------------------------------------------------------------------------------------------


def test_markdown_begins_with_the_verdict() -> None:
    """A hidden marker, the verdict in a sentence, where, then a row a cause."""
    head = rendered("markdown", SHOP).partition("<details>")[0]

    assert head == dedent("""\
        <!-- memguard -->

        ## memguard: 3 of 5 tests leak, 2 causes

        <code>CPython 3.13.0</code>, <code>commit 0123456789 with changes</code>

        | | what | cause | tests | allocated at |
        | --- | --- | --- | ---: | --- |
        | :red_circle: | <code>Memory leak&#58; +1 fd a run, score 99</code> | <code>/dev/null</code> | 1 | \
<code>tests/test&#95;shop.py&#58;34</code> |
        | :red_circle: | <code>Memory leak&#58; +12 blocks a run, score 99</code> | <code>shop.events.BUS</code> | 2 | \
<code>shop/cart.py&#58;16</code> |
        | :orange_circle: | <code>Memory grows&#58; +4.0 KiB heap a run, score 80</code> | <code>it grew</code> | 1 | \
<code>tests/test&#95;native.py&#58;34</code> |

    """)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (session(), "memguard: nothing was checked"),
        (session(result("t.py::a", level=Level.CLEAN)), "memguard: no leak found in 1 test"),
        (session(result("t.py::a", level=Level.GROWING)), "memguard: no leak, but memory grows in 1 of 1 test"),
        (session(leak(status="known")), "memguard: 1 of 1 test leak, 1 cause (1 known)"),
        (session(result("t.py::a", level=Level.SKIPPED)), "memguard: no leak found in 0 tests"),
    ],
)
def test_the_verdict_in_a_sentence(run: RunResult, verdict: str) -> None:
    """Every outcome has its sentence."""
    assert f"## {verdict}\n" in rendered("markdown", run)


@pytest.mark.parametrize("number", [0, 1, 20, 3000])
def test_markdown_fits_a_comment_and_a_summary(number: int) -> None:
    """However many leaks there are, neither is too long; what is left out is counted."""
    run = many(number)
    comment, summary = markdown.render(run), markdown.step_summary(run)

    assert len(comment.encode()) <= 65_000
    assert len(summary.encode()) <= 200_000
    assert len(summary) >= len(comment)
    assert ("more causes in full in the report" in comment) == (number > 100)


def test_hostile_markdown_is_as_short() -> None:
    """Names of signs alone, which take most room, are cut as well."""
    name = "|`&" * 1000
    run = session(*(leak(f"tests/t.py::test_{at}{name}", f"{at:016x}") for at in range(300)))

    assert len(markdown.render(run).encode()) <= 65_000


def test_a_name_cannot_leave_its_code() -> None:
    """Outside of blocks of code, no sign of a name has a meaning: no tag, link, mention, bar or end of a fence."""
    text = rendered("markdown", EVIL)
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    bare = re.sub(r"<code>[^<]*</code>", "", outside)

    assert "script" not in bare
    assert "memguard -->" not in bare.removeprefix(markdown.MARKER)
    assert "@everyone" not in bare
    assert set(re.findall(r"</?(\w+)", bare)) == {"details", "summary"}
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {6}


# -- two sessions ----------------------------------------------------------------------------------------------------


def worse(one: SubjectResult, rate: float) -> SubjectResult:
    """Return *one* with another growth a run."""
    trend = Trend(Shape.EXACT, Estimate(rate, rate, rate), 33)
    return replace(one, findings=tuple(replace(found, trend=trend) for found in one.findings))


OTHER = "tests/test_shop.py::test_other"
BEFORE = session(
    leak(), leak(OTHER, "2222222222222222"), commit={"sha": "a" * 40, "dirty": False, "time": "2026-01-01"}
)
AFTER = session(
    worse(leak(), 60.0),
    result(OTHER, level=Level.CLEAN),
    leak("tests/test_shop.py::test_new", "3333333333333333"),
    commit={"sha": "b" * 40, "dirty": False, "time": "2026-01-02"},
)


def test_annotations_of_a_comparison() -> None:
    """What is new or worse is annotated, in this order; what is known or gone is not."""
    lines = github.comparison(compare(BEFORE, AFTER)).splitlines()

    assert [re.search("title=(.*?)::", line)[1] for line in lines] == [  # type: ignore[index] # there is one
        "New%3A Memory leak%3A +6 blocks a run%2C score 99",
        "Worse%3A Memory leak%3A +60 blocks a run%2C score 99",
    ]
    assert github.comparison(compare(AFTER, AFTER)) == ""


def test_a_comment_on_a_comparison() -> None:
    """The counts, the two commits, a row a change, then what is new or worse in full."""
    text = markdown.comparison(compare(BEFORE, AFTER))

    assert text.partition("<details>")[0] == dedent("""\
        <!-- memguard -->

        ## memguard: 1 new, 1 worse, 1 gone

        From <code>aaaaaaaaaa &#40;2026-01-01&#41;</code> to <code>bbbbbbbbbb &#40;2026-01-02&#41;</code>

        | | growth | cause | tests | allocated at |
        | --- | --- | --- | ---: | --- |
        | :red_circle: new | <code>+6 blocks a run</code> | <code>shop.events.BUS</code> | 1 | \
<code>shop/cart.py&#58;16</code> |
        | :red_circle: worse | <code>+6 -&#62; +60 blocks a run</code> | <code>shop.events.BUS</code> | 1 | \
<code>shop/cart.py&#58;16</code> |
        | :green_circle: gone | <code>was +6 blocks a run</code> | <code>shop.events.BUS</code> | 1 |  |

    """)
    assert text.count("<details>") == 2


def test_a_hostile_comparison_fits() -> None:
    """However many causes there are, and however they are named, it is no longer than a comment may be."""
    name = "|`&<" * 500
    after = session(*(leak(f"tests/t.py::test_{at}{name}", f"{at:016x}") for at in range(500)))

    for found in (compare(session(), after), compare(after, session()), compare(EVIL, EVIL), compare(session(), EVIL)):
        assert len(markdown.comparison(found).encode()) <= 65_000
        assert len(github.comparison(found).splitlines()) <= 9


# -- SARIF -----------------------------------------------------------------------------------------------------------


def sarif(run: RunResult) -> dict[str, Any]:
    """Return the one run of the log."""
    log: dict[str, Any] = json.loads(rendered("sarif", run))
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    return dict(one)


def test_a_sarif_log() -> None:
    """Rule, level, place, message and fingerprint of each cause."""
    log = sarif(SHOP)
    rules = [rule["id"] for rule in log["tool"]["driver"]["rules"]]
    found = [(one["ruleId"], one["level"], one["locations"][0]["physicalLocation"]) for one in log["results"]]

    assert log["tool"]["driver"]["version"] == "0.1.0"
    assert log["invocations"] == [{"executionSuccessful": True, "startTimeUtc": "2026-01-01T00:00:00Z"}]
    assert [rules[one["ruleIndex"]] for one in log["results"]] == [rule for rule, _, _ in found]
    assert [(rule, level) for rule, level, _ in found] == [("MG002", "error"), ("MG001", "error"), ("MG001", "warning")]
    assert found[1][2] == {
        "artifactLocation": {"uri": "shop/cart.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 16},
    }


def test_fingerprints_are_the_same_when_lines_move() -> None:
    """An alert is known again after its line, its test and its growth have changed."""
    moved = replace(leak("tests/test_other.py::test_new"), line=99)
    site = replace(moved.findings[0].sites[0], line=200)
    moved = replace(moved, findings=(replace(moved.findings[0], sites=(site,), total=1.0),))
    prints = [sarif(session(one))["results"][0]["partialFingerprints"] for one in (leak(), moved)]

    assert prints[0] == prints[1]
    assert prints[0]["primaryLocationLineHash"] == "31e18ff503247592"


@pytest.mark.parametrize(("status", "state"), [("new", "new"), ("worse", "updated"), ("known", "unchanged")])
def test_sarif_tells_what_is_in_the_baseline(status: str, state: str) -> None:
    """A status becomes the state of the baseline; what is known is suppressed as well."""
    (found,) = sarif(session(leak(status=status)))["results"]

    assert found["baselineState"] == state
    assert ("suppressions" in found) == (status == "known")


def test_a_hostile_sarif_log() -> None:
    """A path is a URI, a line is 1 at least, and a name cannot be a link."""
    (found,) = sarif(EVIL)["results"]
    place = found["locations"][0]["physicalLocation"]

    assert re.fullmatch(r"[\w./~%-]+", place["artifactLocation"]["uri"])
    assert unquote(place["artifactLocation"]["uri"]).startswith("tests/<script>")
    assert place["region"]["startLine"] >= 1
    assert "](" not in found["message"]["text"]


def test_a_sarif_log_of_many() -> None:
    """What code scanning would not show is left out, and said to be."""
    log = sarif(many(5001))

    assert len(log["results"]) == 5000
    assert "1 more" in log["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def shape(required: str, **properties: object) -> dict[str, object]:
    """Return the schema of an object that has no other keys than these."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


TEXT = {"type": "string", "minLength": 1}
MESSAGE = shape("text", text=TEXT)
LOCATION = shape(
    "physicalLocation",
    id={"type": "integer", "minimum": -1},
    physicalLocation=shape(
        "artifactLocation region",
        artifactLocation=shape("uri uriBaseId", uri={"type": "string", "pattern": r"^[\w./~%-]+$"}, uriBaseId=TEXT),
        region=shape("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations={"items": shape("fullyQualifiedName", fullyQualifiedName=TEXT, kind={"enum": ["function"]})},
)
RESULT = shape(
    "ruleId message locations partialFingerprints",
    ruleId={"enum": ["MG001", "MG002", "MG003", "MG004"]},
    ruleIndex={"type": "integer", "minimum": 0},
    level={"enum": ["none", "note", "warning", "error"]},
    message=MESSAGE,
    locations={"items": LOCATION, "minItems": 1},
    relatedLocations={"items": LOCATION, "uniqueItems": True},
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    baselineState={"enum": ["new", "unchanged", "updated", "absent"]},
    suppressions={"items": shape("kind", kind={"enum": ["inSource", "external"]}, status={"enum": ["accepted"]})},
    properties={"type": "object"},
)
DRIVER = shape(
    "name rules",
    name=TEXT,
    version=TEXT,
    rules={
        "uniqueItems": True,
        "items": shape("id", id=TEXT, name=TEXT, shortDescription=MESSAGE, help=MESSAGE, properties={"type": "object"}),
    },
)
INVOCATION = shape(
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    startTimeUtc={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
    toolExecutionNotifications={"items": shape("message", message=MESSAGE, level={"enum": ["warning"]})},
)
RUN = shape(
    "tool results",
    tool=shape("driver", driver=DRIVER),
    automationDetails=shape("id", id=TEXT),
    invocations={"items": INVOCATION},
    results={"items": RESULT},
)
#: The part of SARIF's own schema that is written here.
LOG = shape("version runs", **{"$schema": TEXT, "version": {"enum": ["2.1.0"]}, "runs": {"items": RUN}})


@pytest.mark.parametrize("run", [SHOP, EVIL, session(), many(5001)], ids=["shop", "evil", "empty", "many"])
def test_the_shape_of_a_sarif_log(run: RunResult) -> None:
    """Every key is one of SARIF, and every value of its type."""
    Draft7Validator.check_schema(LOG)

    assert [error.message for error in Draft7Validator(LOG).iter_errors(json.loads(rendered("sarif", run)))] == []


@pytest.mark.parametrize("run", [SHOP, EVIL, session(), many(200)], ids=["shop", "evil", "empty", "many"])
def test_sarif_is_valid(run: RunResult) -> None:
    """Every log is valid against the schema of SARIF 2.1.0."""
    schema = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    problems = [error.message for error in Draft4Validator(schema).iter_errors(json.loads(rendered("sarif", run)))]

    assert problems == []


# -- GitLab ----------------------------------------------------------------------------------------------------------


def test_code_quality() -> None:
    """An entry a cause, with all that GitLab needs."""
    entries = json.loads(rendered("gitlab", SHOP))

    assert [(one["severity"], one["location"]["path"], one["location"]["lines"]["begin"]) for one in entries] == [
        ("critical", "tests/test_shop.py", 34),
        ("major", "shop/cart.py", 16),
        ("minor", "tests/test_native.py", 34),
    ]
    assert len({one["fingerprint"] for one in entries}) == 3
    for one in entries:
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= set(one)
    assert json.loads(rendered("gitlab", session(leak(status="known"))))[0]["severity"] == "info"
    assert json.loads(rendered("gitlab", session())) == []


# -- JUnit -----------------------------------------------------------------------------------------------------------


def test_properties_of_a_test() -> None:
    """Numbers in base units, names as they are."""
    assert dict(properties(leak())) == {
        "memguard.verdict": "leak",
        "memguard.score": "99.4",
        "memguard.reason": "it grew",
        "memguard.runs": "66",
        "memguard.blocks_per_run": "6",
        "memguard.fingerprint": "31e18ff503247592",
        "memguard.held_by": "shop.events.BUS",
        "memguard.site": "shop/cart.py:16",
        "memguard.advice": "remove each listener",
    }


def test_properties_of_an_estimate() -> None:
    """What was estimated has its interval; what is not finite is left out."""
    grown = finding(HEAP)
    grown = replace(grown, trend=replace(grown.trend, slope=Estimate(1.25, 1.0, float("inf"))))

    names = dict(properties(result("t.py::a", grown)))

    assert names["memguard.heap_per_run"] == "1.25"
    assert names["memguard.heap_per_run_low"] == "1"
    assert "memguard.heap_per_run_high" not in names


def suite_of(run: RunResult) -> ET.Element:
    """Return the one suite of the report."""
    (suite,) = ET.fromstring(rendered("junit", run))  # noqa: S314 - this package wrote it
    return suite


def test_a_junit_report() -> None:
    """A leak is a failure, what was not measured is skipped, growth and the rest pass."""
    suite = suite_of(SHOP)
    cases = {
        (case.get("classname"), case.get("name")): [child.tag for child in case if child.tag != "properties"]
        for case in suite.iter("testcase")
    }

    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "3", "errors": "0", "skipped": "1",
    }  # fmt: skip
    assert cases == {
        ("tests.test_shop", "test_cart"): ["failure"],
        ("tests.test_shop", "test_till"): ["failure"],
        ("tests.test_shop", "test_print"): ["failure"],
        ("tests.test_native", "test_zip[a::b]"): [],
        ("tests.test_shop", "test_ok"): [],
        ("tests.test_shop", "test_later"): ["skipped"],
    }


def test_a_hostile_junit_report() -> None:
    """It is XML, and what it says is what was said, escaped."""
    suite = suite_of(EVIL)

    assert [case.tag for case in suite] == ["testcase", "testcase"]
    assert "<script>alert(1)</script>" in str(suite[0].get("name"))


#: Element -> attributes that it must have, those that it may have, and its children: as in junit-10.xsd of Jenkins'
#: xUnit plugin, and with what pytest adds to it, which are properties of a test case.
JUNIT = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors"), ("testsuite",)),
    "testsuite": (
        ("name", "tests", "failures", "errors"), ("time", "skipped", "timestamp"), ("testcase", "properties"),
    ),
    "testcase": (("name",), ("time", "classname"), ("skipped", "failure", "properties")),
    "properties": ((), (), ("property",)),
    "property": (("name", "value"), (), ()),
    "failure": ((), ("type", "message"), ()),
    "skipped": ((), ("type", "message"), ()),
}  # fmt: skip


@pytest.mark.parametrize("run", [SHOP, EVIL, session()], ids=["shop", "evil", "empty"])
def test_the_shape_of_a_junit_report(run: RunResult) -> None:
    """Every element, attribute and time is one that readers of such reports know."""
    for element in suite_of(run).iter():
        needed, others, children = JUNIT[element.tag]
        assert set(needed) <= set(element.keys()) <= {*needed, *others}
        assert {child.tag for child in element} <= set(children)
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time", "0.000"))


@pytest.mark.parametrize("run", [SHOP, EVIL, session()], ids=["shop", "evil", "empty"])
def test_junit_is_valid(run: RunResult) -> None:
    """Every report is valid against the schema of Jenkins' xUnit plugin, but for the properties of a test case."""
    report = re.sub(r"<properties>.*?</properties>|<properties />", "", rendered("junit", run), flags=re.DOTALL)

    import xmlschema  # a third of all objects of a test run

    xmlschema.validate(report.partition("?>")[2].strip(), str(SCHEMAS / "junit-10.xsd"))


# -- the schemas -----------------------------------------------------------------------------------------------------


def test_the_schemas_are_unchanged() -> None:
    """What stands in README.md beside them is their sum."""
    told = (SCHEMAS / "README.md").read_text(encoding="utf-8")
    files = sorted(file for file in SCHEMAS.iterdir() if file.name != "README.md")

    assert [file.name for file in files] == ["junit-10.xsd", "sarif-2.1.0-rtm.5.json"]
    for file in files:
        assert re.search(rf"`{file.name}`.*`{hashlib.sha256(file.read_bytes()).hexdigest()}`", told)


# -- annotations -----------------------------------------------------------------------------------------------------


def test_commands_of_nothing() -> None:
    """No notice is no line."""
    assert github.commands([]) == ""
