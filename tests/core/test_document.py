"""The result document: there and back, as the schema says, and what is refused."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import fields, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_memguard.core import calibration
from pytest_memguard.core.document import (
    SCHEMA,
    dumps,
    from_dict,
    loads,
    result_from_dict,
    result_to_dict,
    to_dict,
)
from pytest_memguard.core.ladder import Act, Plan, advance
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    METRICS,
    Control,
    Estimate,
    Finding,
    Holder,
    Hop,
    Level,
    Metric,
    Phase,
    Readings,
    RetentionPath,
    RunResult,
    Series,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Unit,
    Verdict,
)
from pytest_memguard.core.verdict import judge, rejudge
from pytest_memguard.errors import DocumentError

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "result.schema.json"
DESCRIBED: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))

# -- any value -------------------------------------------------------------------------------------------------------

#: JSON joins a high surrogate and a low one into the character that they stand for; Python never makes such a pair.
ODD_TEXT = st.text(st.one_of(st.characters(), st.sampled_from('\ud800\udc80\0\n\x7f\u2028😀"\\'))).filter(
    lambda text: text == json.loads(json.dumps(text))
)
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**80), 2**80))
COUNTS = st.integers(0, 2**70)
SECONDS = st.floats(0, allow_nan=False, allow_infinity=False)
SCORES = st.floats(0, 100)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, ODD_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ODD_TEXT, inner, max_size=3)),
    max_leaves=6,
)


def tuples(each: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw up to *most* of *each*."""
    return st.lists(each, max_size=most).map(tuple)


OTHER_METRICS = st.builds(Metric, ODD_TEXT, st.sampled_from(Unit), st.booleans(), st.booleans(), st.booleans())
ANY_METRIC = st.one_of(st.sampled_from(tuple(METRICS.values())), OTHER_METRICS)


@st.composite
def readings(draw: st.DrawFn) -> Readings:
    """Draw readings of one metric or more, in any order of phases."""
    metrics = draw(st.lists(ANY_METRIC, min_size=1, max_size=3))
    phases = draw(st.lists(st.sampled_from(Phase), max_size=8))
    runs = draw(st.lists(INT64, min_size=len(phases), max_size=len(phases)))
    size = len(metrics) * len(phases)
    values = draw(st.lists(INT64, min_size=size, max_size=size))
    return Readings(tuple(metrics), tuple(runs), tuple(phases), array("q", values))


@st.composite
def timelines(draw: st.DrawFn) -> Series:
    """Draw readings of one metric over seconds."""
    points = draw(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6))
    return Series(draw(ANY_METRIC), tuple(x for x, _ in points), tuple(value for _, value in points), "second")


PLANS = st.builds(
    Plan,
    mode=ODD_TEXT,
    screen=COUNTS,
    patience=COUNTS,
    max_runs=COUNTS,
    batch=COUNTS,
    confidence=NUMBERS,
    policy=ODD_TEXT,
    prior=NUMBERS,
    curious=st.booleans(),
    racy=st.booleans(),
    lumpy=st.booleans(),
    hurried=st.booleans(),
    allow=tuples(st.tuples(ODD_TEXT, NUMBERS)),
    metrics=tuples(ODD_TEXT),
    control=tuples(st.tuples(ODD_TEXT, NUMBERS, NUMBERS)),
)
HOLDERS = st.builds(Holder, ODD_TEXT, ODD_TEXT, st.none() | COUNTS, NUMBERS)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Level),
    SCORES,
    ODD_TEXT,
    ODD_TEXT,
    st.dictionaries(ODD_TEXT, SCORES, max_size=3).map(lambda scores: tuple(scores.items())),
)
SLOPES = st.builds(Estimate, NUMBERS, NUMBERS, NUMBERS, st.floats(0, 1))
TRENDS = st.builds(Trend, st.sampled_from(Shape), SLOPES, COUNTS, NUMBERS, NUMBERS)
SITES = st.builds(Site, ODD_TEXT, COUNTS, ODD_TEXT, NUMBERS, NUMBERS, tuples(ODD_TEXT), ODD_TEXT)
TYPES = st.builds(TypeGrowth, ODD_TEXT, NUMBERS, NUMBERS)
HOPS = st.builds(Hop, ODD_TEXT, ODD_TEXT, ODD_TEXT, NUMBERS, st.booleans())
PATHS = st.builds(RetentionPath, tuples(HOPS), ODD_TEXT)
FINDINGS = st.builds(
    Finding,
    metric=ANY_METRIC,
    trend=TRENDS,
    total=NUMBERS,
    fingerprint=st.text("0123456789abcdef"),
    status=st.sampled_from([None, "new", "known", "worse", "fixed"]),
    advice=ODD_TEXT,
    sites=tuples(SITES),
    types=tuples(TYPES),
    paths=tuples(PATHS),
    names=tuples(ODD_TEXT),
)
RESULTS = st.builds(
    SubjectResult,
    id=ODD_TEXT,
    kind=st.sampled_from(["test", "callable", "scenario", "process"]),
    verdict=VERDICTS,
    runs=COUNTS,
    duration_s=SECONDS,
    first_run_s=SECONDS,
    file=ODD_TEXT,
    line=COUNTS,
    worker=st.none() | ODD_TEXT,
    readings=st.none() | readings(),
    findings=tuples(FINDINGS, 2),
    holder=HOLDERS,
    plan=st.none() | PLANS,
    stopped=ODD_TEXT,
    notes=st.lists(ODD_TEXT, max_size=2).map(tuple),
    timeline=tuples(timelines(), 2),
)
ENVIRONMENTS = st.fixed_dictionaries(
    {},
    optional={
        "python": ODD_TEXT,
        "cpu_count": st.none() | COUNTS,
        "packages": st.dictionaries(ODD_TEXT | st.just("pytest-memguard"), ODD_TEXT, max_size=2),
        "new": JSON_VALUES,
    },
)
COMMITS = st.fixed_dictionaries({"sha": ODD_TEXT, "branch": st.none() | ODD_TEXT, "new": JSON_VALUES})
RUNS = st.builds(
    RunResult,
    started_at=ODD_TEXT,
    duration_s=SECONDS,
    environment=ENVIRONMENTS,
    commit=st.none() | COMMITS,
    settings=st.dictionaries(ODD_TEXT, JSON_VALUES, max_size=2),
    control=st.dictionaries(ODD_TEXT, st.builds(Control, NUMBERS, NUMBERS), max_size=2),
    results=tuples(RESULTS, 2),
    repeat_s=SECONDS,
    plain_s=SECONDS,
)


# -- one full value --------------------------------------------------------------------------------------------------


HELD = Hop("name", "seen", "list", grows_per_run=1.0, suspect=True)


def example(**changes: object) -> SubjectResult:
    """Return a result with something in every place."""
    full = SubjectResult(
        id="tests/test_shop.py::test_cart",
        kind="test",
        verdict=Verdict(Level.LEAK, 97.5, "+3 blocks a run", "calibrated", (("calibrated", 97.5), ("points", 40.0))),
        runs=4,
        duration_s=0.5,
        first_run_s=0.01,
        file="tests/test_shop.py",
        line=12,
        worker="gw0",
        readings=Readings(
            (BLOCKS, HEAP), (0, 1, 2, 3), (Phase.SCREEN,) * 3 + (Phase.CLIMB,), array("q", [1, 9, 4, 9, 7, 9, 8, 9])
        ),
        findings=(
            Finding(
                BLOCKS,
                Trend(Shape.EXACT, Estimate(3.0, 2.5, 3.5, 0.95), 4, 0.9, 3.0),
                total=7.0,
                fingerprint="c0ffee",
                status="new",
                advice="give it a limit",
                sites=(Site("shop.py", 3, "add", 96.0, 3.0, ("a", "b")),),
                types=(TypeGrowth("dict", 1.0, 64.0),),
                paths=(RetentionPath((Hop("module", "shop", "module"), HELD), "x"),),
                names=("socket 7",),
            ),
        ),
        holder=Holder("unbounded", "shop.seen", None, 1.0),
        plan=Plan(allow=(("heap", 64.0),), metrics=("blocks",), control=(("blocks", 0.0, 1.0),)),
        stopped="over the budget",
        notes=("a run of the extra pass failed",),
        timeline=(Series(BLOCKS, (0.0, 0.2), (10, 11.5), "second"),),
    )
    return replace(full, **changes)


def session(*results: SubjectResult, **changes: object) -> RunResult:
    """Return a session with something in every place, of *results* or of the one example."""
    full = RunResult(
        "2026-01-02T03:04:05Z",
        12.5,
        {
            "python": "3.13.0",
            "implementation": "CPython",
            "platform": "Linux-6.1",
            "machine": "x86_64",
            "cpu_count": 2,
            "pytest": "9.0.0",
            "memory_limit_bytes": None,
            "packages": {"pytest-memguard": "0.1.0"},
        },
        {"sha": "c0ffee", "branch": None, "dirty": True, "time": "2026-01-01T00:00:00Z"},
        {"mode": "quick"},
        {"blocks": Control(0.0, 1.0)},
        results or (example(),),
        repeat_s=3.0,
        plain_s=2.0,
    )
    return replace(full, **changes)


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return the document of the example with *value* at *path*, or without it where that is None's own type."""
    content: Any = to_dict(session())
    inner = content
    for step in path[:-1]:
        inner = inner[step]
    if value is type(None):
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content  # type: ignore[no-any-return]


def refusal(read: Callable[[], object]) -> str:
    """Return the one line that a document is refused with."""
    with pytest.raises(DocumentError) as caught:
        read()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 240
    return text


def places(content: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value in *content*, itself left out."""
    inner: Any = content
    keys = list(inner) if isinstance(content, dict) else range(len(inner)) if isinstance(content, list) else ()
    return [found for key in keys for found in [(*path, key), *places(inner[key], (*path, key))]]


EVERYWHERE = places(to_dict(session()))


# -- there and back --------------------------------------------------------------------------------------------------


@given(RUNS)
def test_a_session_comes_back_from_its_dict(result: RunResult) -> None:
    """Reading what was written gives the same value."""
    assert from_dict(to_dict(result)) == result


@given(RUNS)
def test_a_session_comes_back_from_text(result: RunResult) -> None:
    """So it does through JSON: odd text, large numbers and all, in one line of ASCII."""
    text = dumps(result)

    assert loads(text) == result
    assert text.isascii()
    assert len(text.splitlines()) <= 1
    assert json.loads(text) == to_dict(result)


@given(RESULTS)
def test_a_result_comes_back_by_itself(result: SubjectResult) -> None:
    """A single result travels between processes with its plan inside, made of plain types only."""
    content = result_to_dict(result)

    assert result_from_dict(content) == result
    assert plain_types(content)


def plain_types(content: object) -> bool:
    """Return whether execnet would take *content*: it refuses subclasses, such as members of enumerations."""
    if type(content) is dict:
        return all(plain_types(key) and plain_types(value) for key, value in content.items())
    if type(content) is list:
        return all(map(plain_types, content))
    return content is None or type(content) in (str, int, float, bool)


def test_the_example_has_something_in_every_place() -> None:
    """No field of the example is left at its default, so that tests over its places reach all of them."""
    same = [
        field.name
        for value in (example(), session(), example().findings[0])
        for field in fields(value)
        if getattr(value, field.name) == field.default
    ]

    assert same == []


def test_built_in_metrics_come_back_as_themselves() -> None:
    """Ten thousand results share their metrics, as they did before."""
    back = result_from_dict(result_to_dict(example()))

    assert back.readings is not None
    assert back.readings.metrics[0] is BLOCKS


def test_one_plan_is_written_once() -> None:
    """Results that were measured alike name one plan, and share it when they are read."""
    other = Plan(mode="deep")
    results = (example(), example(plan=other), example(plan=replace(example().plan)), example(plan=None))
    content = to_dict(session(*results))
    back = from_dict(content).results

    assert [one["plan"] for one in content["results"]] == [0, 1, 0, None]
    assert [plan["mode"] for plan in content["plans"]] == ["quick", "deep"]
    assert back[0].plan is back[2].plan


def test_what_is_usual_is_left_out() -> None:
    """Three keys of a result are not there where they would say nothing, and are where they say something."""
    readings = Readings((BLOCKS,), (0, 1), (Phase.SCREEN,) * 2, array("q", [1, 1]))
    usual = example(stopped="", holder=Holder(), readings=readings)
    empty = replace(readings, metrics=(), values=array("q"))

    assert {"stopped", "holder", "phases"} & set(result_to_dict(usual)) == set()
    assert result_to_dict(replace(usual, stopped="late"))["stopped"] == "late"
    assert result_to_dict(replace(usual, holder=Holder(grew=1.0)))["holder"]["grew"] == 1.0
    assert "phases" not in result_to_dict(replace(usual, readings=None))
    assert result_to_dict(replace(usual, readings=empty))["phases"] == []


def test_phases_are_run_length_encoded() -> None:
    """The phases stand as names with numbers of readings."""
    assert result_to_dict(example())["phases"] == [["screen", 3], ["climb", 1]]


def test_no_readings_are_not_empty_readings() -> None:
    """What was not measured comes back without readings; a measurement that took none with empty ones."""
    empty = Readings((), (), (), array("q"))
    never, none = (result_from_dict(result_to_dict(example(readings=one))).readings for one in (None, empty))

    assert never is None
    assert none == empty


def test_readings_of_no_metric_can_be_read_back() -> None:
    """Readings without a metric hold nothing, and come back as none taken."""
    hollow = example(readings=Readings((), (0, 1), (Phase.SCREEN,) * 2, array("q")))

    assert result_from_dict(result_to_dict(hollow)) == example(readings=Readings((), (), (), array("q")))


def test_a_timeline_is_no_reading_of_runs() -> None:
    """What was watched over seconds comes back as its timeline, and needs no phases."""
    watched = example(readings=None)
    back = result_from_dict(result_to_dict(watched))

    assert back == watched
    assert back.readings is None


def test_what_a_cause_is_counted_over() -> None:
    """Growth of a service is told over its requests, and the document says so; over runs it need not."""
    service = to_dict(session(example(kind="scenario")))["causes"][0]

    assert service["x_unit"] == "request"
    assert "x_unit" not in to_dict(session(example()))["causes"][0]
    Draft202012Validator(closed(DESCRIBED)).validate(to_dict(session(example(kind="scenario"))))


# -- what it says ----------------------------------------------------------------------------------------------------


def test_one_result() -> None:
    """One result, key by key."""
    assert result_to_dict(example()) == {
        "id": "tests/test_shop.py::test_cart",
        "kind": "test",
        "file": "tests/test_shop.py",
        "line": 12,
        "verdict": "leak",
        "confidence": 97.5,
        "policy": "calibrated",
        "policies": {"calibrated": 97.5, "points": 40.0},
        "reason": "+3 blocks a run",
        "stopped": "over the budget",
        "notes": ["a run of the extra pass failed"],
        "runs": 4,
        "duration_s": 0.5,
        "first_run_s": 0.01,
        "worker": "gw0",
        "plan": {
            "mode": "quick", "screen": 2, "patience": 4, "max_runs": 65, "batch": 1, "confidence": 95.0,
            "policy": "calibrated", "prior": 0.002, "curious": False, "racy": False, "lumpy": False, "hurried": False,
            "follow": True, "allow": [["heap", 64.0]], "metrics": ["blocks"], "control": [["blocks", 0.0, 1.0]],
        },
        "holder": {"kind": "unbounded", "name": "shop.seen", "limit": None, "grew": 1.0, "why": ""},
        "phases": [["screen", 3], ["climb", 1]],
        "series": [
            {"metric": "blocks", "unit": "count", "x": [0, 1, 2, 3], "x_unit": "run", "values": [1, 4, 7, 8]},
            {"metric": "heap", "unit": "byte", "x": [0, 1, 2, 3], "x_unit": "run", "values": [9, 9, 9, 9]},
            {"metric": "blocks", "unit": "count", "x": [0.0, 0.2], "x_unit": "second", "values": [10, 11.5]},
        ],
        "findings": [
            {
                "metric": "blocks",
                "unit": "count",
                "exact": True,
                "shape": "exact",
                "per_run": {"point": 3.0, "low": 2.5, "high": 3.5, "level": 0.95},
                "total": 7.0,
                "n": 4,
                "r": 0.9,
                "least_squares": 3.0,
                "fingerprint": "c0ffee",
                "status": "new",
                "advice": "give it a limit",
                "names": ["socket 7"],
                "sites": [
                    {
                        "file": "shop.py", "line": 3, "function": "add", "bytes_per_run": 96.0, "blocks_per_run": 3.0,
                        "traceback": ["a", "b"], "source": "",
                    }
                ],
                "types": [{"type": "dict", "count_per_run": 1.0, "bytes_per_run": 64.0}],
                "paths": [
                    {
                        "hops": [
                            {
                                "kind": "module", "name": "shop", "type": "module",
                                "grows_per_run": 0.0, "suspect": False,
                            },
                            {
                                "kind": "name", "name": "seen", "type": "list",
                                "grows_per_run": 1.0, "suspect": True,
                            },
                        ],
                        "text": "x",
                    }
                ],
            }
        ],
    }  # fmt: skip


def test_the_frame() -> None:
    """The session around the results, key by key."""
    content = to_dict(session())
    written = session()

    assert {key: value for key, value in content.items() if key not in ("results", "plans", "summary")} == {
        "schema": "memguard-result/1",
        "tool": {"name": "pytest-memguard", "version": "0.1.0"},
        "started_at": "2026-01-02T03:04:05Z",
        "duration_s": 12.5,
        "environment": written.environment,
        "commit": written.commit,
        "settings": {"mode": "quick"},
        "control": {"blocks": {"per_run": 0.0, "noisy": True, "largest_step": 1.0}},
        "causes": [
            {
                "fingerprint": "c0ffee",
                "text": "shop.seen",
                "results": ["tests/test_shop.py::test_cart"],
                "metric": "blocks",
                "unit": "count",
                "per_run": 3.0,
                "growth": [{"metric": "blocks", "unit": "count", "per_run": 3.0}],
                "loss_bytes": 187.2,
                "reproducer": "pytest tests/test_shop.py::test_cart --memguard",
            }
        ],
    }


def test_causes_are_those_of_the_results() -> None:
    """Causes are found again when a document is read, whatever is written there; other metrics are described."""
    mine = Metric("gpu", Unit.BYTE, exact=False)
    finding = replace(example().findings[0], metric=mine)
    content = to_dict(session(example(findings=(finding,))))
    described = content["causes"][0]
    content["causes"] = []

    assert to_dict(from_dict(content))["causes"] == [described]
    assert described.items() >= {"metric": "gpu", "unit": "byte", "exact": False, "resource": False}.items()


def test_what_is_clean_has_no_cause() -> None:
    """Only leaks and growth have causes."""
    levels = [level for level in Level if level not in (Level.LEAK, Level.GROWING)]

    assert to_dict(session(*(example(verdict=Verdict(level, 0.0, "")) for level in levels)))["causes"] == []


def test_summary() -> None:
    """Verdicts are counted; checked are those that got an answer."""
    levels = [Level.CLEAN, Level.CLEAN, Level.LEAK, Level.BOUNDED, Level.UNMEASURED, Level.SKIPPED]
    results = [example(verdict=Verdict(level, 0.0, "")) for level in levels]

    assert to_dict(session(*results))["summary"] == {
        "checked": 4,
        "clean": 2,
        "settled": 0,
        "bounded": 1,
        "leak": 1,
        "growing": 0,
        "unmeasured": 1,
        "skipped": 1,
        "plain_s": 2.0,
        "repeat_s": 3.0,
        "overhead_ratio": 2.5,
    }


@pytest.mark.parametrize(("plain_s", "ratio"), [(0.0, None), (5e-324, None), (2.0, 2.5)])
def test_overhead_ratio(plain_s: float, ratio: float | None) -> None:
    """There is no ratio to a session that took no time, nor one that is infinite."""
    assert to_dict(session(plain_s=plain_s))["summary"]["overhead_ratio"] == ratio


@pytest.mark.parametrize("environment", [{}, {"packages": None}, {"packages": {"pytest-memguard": 1}}])
def test_unknown_version(environment: dict[str, Any]) -> None:
    """Where the environment does not tell the version that measured, none is made up."""
    assert to_dict(session(environment=environment))["tool"]["version"] == "unknown"


def test_a_metric_that_is_not_built_in_is_described() -> None:
    """What does not follow from a metric's name is written, for series and findings alike."""
    mine = Metric("gpu", Unit.BYTE, exact=False, resource=True)
    finding = replace(example().findings[0], metric=mine)
    content = result_to_dict(
        example(readings=Readings((mine,), (0,), (Phase.SCREEN,), array("q", [5])), findings=(finding,))
    )
    flags = {"exact": False, "resource": True, "lower_is_better": True}

    assert content["series"][0].items() >= flags.items()
    assert content["findings"][0].items() >= flags.items()


# -- the schema ------------------------------------------------------------------------------------------------------


def closed(schema: object) -> object:
    """Return *schema* with every object that names its keys closed to others."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and "type" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


def test_the_schema_is_one() -> None:
    """The schema file is valid itself."""
    Draft202012Validator.check_schema(DESCRIBED)


@given(RUNS)
def test_every_document_is_valid(result: RunResult) -> None:
    """Whatever is written, the schema accepts it."""
    Draft202012Validator(DESCRIBED).validate(json.loads(dumps(result)))


def test_every_key_is_described() -> None:
    """Nothing is written that the schema does not know, a metric that is not built in included."""
    mine = Metric("gpu", Unit.BYTE, exact=False)
    odd = example(
        readings=Readings((mine,), (0,), (Phase.SCREEN,), array("q", [5])),
        findings=(replace(example().findings[0], metric=mine),),
    )

    Draft202012Validator(closed(DESCRIBED)).validate(to_dict(session(example(), odd)))


def test_every_field_of_a_plan_is_described() -> None:
    """A field that is added to the plan is added to the schema too."""
    assert list(DESCRIBED["$defs"]["plan"]["properties"]) == [field.name for field in fields(Plan)]


def test_the_schema_names_every_member() -> None:
    """The words that the schema allows are those that the values have."""
    inner = DESCRIBED["$defs"]

    assert set(inner["result"]["properties"]["verdict"]["enum"]) == {level.value for level in Level}
    assert set(inner["finding"]["properties"]["shape"]["enum"]) == {shape.value for shape in Shape}
    assert set(inner["unit"]["enum"]) == {unit.value for unit in Unit}
    assert set(inner["phase"]["enum"]) == {phase.value for phase in Phase}
    assert DESCRIBED["properties"]["schema"]["const"] == SCHEMA


KEYS = [path for path in EVERYWHERE if isinstance(path[-1], str) and path != ("plans",)]


@pytest.mark.parametrize("path", KEYS, ids=str)
def test_required_keys(path: tuple[str | int, ...]) -> None:
    """A document without a key is refused exactly where the schema requires that key."""
    content = changed(path, type(None))
    if Draft202012Validator(DESCRIBED).is_valid(content):
        assert isinstance(from_dict(content), RunResult)
    else:
        assert refusal(lambda: from_dict(content)).partition(";")[0].endswith(f"{path[-1]}: missing")


def test_plans_that_are_not_there() -> None:
    """A result cannot name a plan that the document does not have."""
    content = changed(("plans",), type(None))

    assert refusal(lambda: from_dict(content)) == "results[0].plan: 0 is not the number of one of 0"


# -- reading what is odd ---------------------------------------------------------------------------------------------


def test_unknown_keys_are_ignored() -> None:
    """Keys that a later version adds change nothing, wherever they stand."""
    content = to_dict(session())
    free = {"settings", "environment", "packages", "commit", "policies"}
    for path in [(), *EVERYWHERE]:
        inner: Any = content
        for step in path:
            inner = inner[step]
        if isinstance(inner, dict) and path != ("control",) and not free & {*path[-1:]}:
            inner["added later"] = {"anything": [1, 2.5, None]}

    assert from_dict(content) == session()


def test_the_contract_alone_is_enough() -> None:
    """What was added to the contract may be missing; readings then belong to the screen."""
    content = to_dict(session())
    del content["plans"], content["summary"]["plain_s"], content["control"]["blocks"]["largest_step"]
    one = content["results"][0]
    for key in ("policy", "stopped", "notes", "first_run_s", "plan", "holder", "phases"):
        del one[key]
    for key in ("n", "r", "least_squares", "names"):
        del one["findings"][0][key]
    back = from_dict(content).results[0]

    assert back.readings == replace(example().readings, phases=(Phase.SCREEN,) * 4)
    assert (back.plan, back.holder, back.stopped, back.first_run_s) == (None, Holder(), "", 0.0)
    assert back.findings[0].trend == Trend(Shape.EXACT, Estimate(3.0, 2.5, 3.5, 0.95), 0)
    assert back.verdict == example().verdict


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("results", 0, "verdict"), "leek", "results[0].verdict: 'leek' is not a verdict"),
        (("results", 0, "verdict"), ["leak"], "results[0].verdict: ['leak'] is not a verdict"),
        (
            ("results", 0, "kind"), "toast",
            "results[0].kind: 'toast' is not 'test' or 'callable' or 'scenario' or 'process'",
        ),
        (("results", 0, "id"), 5, "results[0].id: 5 is not text"),
        (("results", 0, "worker"), 5, "results[0].worker: 5 is not text"),
        (("results", 0, "line"), 1.5, "results[0].line: 1.5 is not a whole number"),
        (("results", 0, "runs"), True, "results[0].runs: True is not a whole number"),
        (("results", 0, "line"), -1, "results[0].line: -1 is not 0 or more"),
        (("results", 0, "runs"), -3, "results[0].runs: -3 is not 0 or more"),
        (("results", 0, "duration_s"), -0.1, "results[0].duration_s: -0.1 is not 0 or more"),
        (("results", 0, "confidence"), 100.1, "results[0].confidence: 100.1 is not from 0 to 100"),
        (("results", 0, "policies", "calibrated"), -1, "results[0].policies.calibrated: -1 is not from 0 to 100"),
        (("summary", "clean"), -1, "summary.clean: -1 is not 0 or more"),
        (("results", 0, "confidence"), nan, "results[0].confidence: nan is not a number"),
        (("results", 0, "duration_s"), inf, "results[0].duration_s: inf is not a number"),
        (("results", 0, "duration_s"), 10**400, f"results[0].duration_s: 1{'0' * 56}... is not a number"),
        (("results", 0, "duration_s"), False, "results[0].duration_s: False is not a number"),
        (("results", 0, "policies", "calibrated"), "x", "results[0].policies.calibrated: 'x' is not a number"),
        (("results", 0, "policies", "a b\n"), "x", "results[0].policies['a b\\n']: 'x' is not a number"),
        (("results", 0, "plan"), 1, "results[0].plan: 1 is not the number of one of 1"),
        (("results", 0, "plan"), -1, "results[0].plan: -1 is not the number of one of 1"),
        (("results", 0, "phases"), [["screen", 3]], "results[0].phases: they do not add up to 4 readings"),
        (("results", 0, "phases"), [["stroll", 4]], "results[0].phases[0][0]: 'stroll' is not a phase"),
        (("results", 0, "phases"), [["screen"]], "results[0].phases[0]: ['screen'] is not a list of 2"),
        (
            ("results", 0, "phases"), [["screen", 5], ["climb", -1]],
            "results[0].phases[1]: ['climb', -1] is not a phase and how many readings it has",
        ),
        (("results", 0, "phases"), [["screen", 10**15]], "results[0].phases: they do not add up to 4 readings"),
        (("results", 0, "series"), {}, "results[0].series: {} is not a list"),
        (("results", 0, "series", 0), [], "results[0].series[0]: [] is not an object"),
        (("results", 0, "series", 0, "unit"), "bytes", "results[0].series[0].unit: 'bytes' is not a unit"),
        (
            ("results", 0, "series", 0, "x_unit"),
            "hour",
            "results[0].series[0].x_unit: 'hour' is not 'run' or 'second'",
        ),
        (("results", 0, "series", 2, "x"), [0.0], "results[0].series[2]: 1 positions for 2 values"),
        (("results", 0, "series", 2, "x"), [0.0, "a"], "results[0].series[2].x[1]: 'a' is not a number"),
        (
            ("results", 0, "series", 1, "x"), [0, 1, 2, 4],
            "results[0].series[1]: x and values do not match the x of series[0]",
        ),
        (
            ("results", 0, "series", 0, "values"), [1],
            "results[0].series[0]: x and values do not match the x of series[0]",
        ),
        (
            ("results", 0, "series", 0, "values"), [1, 2, 3, 4.5],
            "results[0].series[0].values: [1, 2, 3, 4.5] is not a list of whole numbers of 64 bits",
        ),
        (
            ("results", 0, "series", 0, "values"), [0, 0, 0, 2**63],
            "results[0].series[0].values: [0, 0, 0, 9223372036854775808] is not a list of whole numbers of 64 bits",
        ),
        (("results", 0, "findings", 0, "shape"), "odd", "results[0].findings[0].shape: 'odd' is not a shape"),
        (
            ("results", 0, "findings", 0, "status"), "old",
            "results[0].findings[0].status: 'old' is not 'new' or 'known' or 'worse' or 'fixed'",
        ),
        (
            ("results", 0, "findings", 0, "per_run", "low"), None,
            "results[0].findings[0].per_run.low: None is not a number",
        ),
        (
            ("results", 0, "findings", 0, "paths", 0, "hops", 1, "suspect"), 1,
            "results[0].findings[0].paths[0].hops[1].suspect: 1 is not true or false",
        ),
        (("results",), "x" * 100, f"results: '{'x' * 56}... is not a list"),
        (("plans", 0, "control"), [["blocks", 0.0]], "plans[0].control[0]: ['blocks', 0.0] is not a list of 3"),
        (("control", "blocks", "noisy"), "no", "control.blocks.noisy: 'no' is not true or false"),
        (("commit",), "c0ffee", "commit: 'c0ffee' is not an object"),
        (("environment", "load"), [1, nan], "environment.load[1]: nan is not a number"),
        (("environment", "packages", "a-b"), {1}, "environment.packages['a-b']: {1} is not a JSON value"),
        (("settings", 5), 5, "settings[5]: the key is not text"),
        (("causes", 0, "results", 0), 5, "causes[0].results[0]: 5 is not text"),
        (("causes", 0, "growth", 0, "per_run"), "x", "causes[0].growth[0].per_run: 'x' is not a number"),
        (("tool",), None, "tool: None is not an object"),
        (("schema",), 1, "schema: 1 is not text"),
    ],
)  # fmt: skip
def test_refused(path: tuple[str | int, ...], value: object, message: str) -> None:
    """A value that does not fit is refused in one line: where it stands, what it is, what it is not."""
    assert refusal(lambda: from_dict(changed(path, value))) == message


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        ("memguard-result/2", "a newer pytest-memguard wrote it; update"),
        ("memguard-result/10", "a newer pytest-memguard wrote it; update"),
        ("memguard-result/0", "this is not a document of pytest-memguard"),
        ("memguard-result", "this is not a document of pytest-memguard"),
        ("sarif/2", "this is not a document of pytest-memguard"),
    ],
)
def test_other_schemas(schema: str, advice: str) -> None:
    """Another schema is refused, whatever else stands there; the message knows a newer one."""
    message = f"schema: {schema!r} is not 'memguard-result/1'; {advice}"

    assert refusal(lambda: from_dict({"schema": schema})) == message


def test_no_schema() -> None:
    """An object without a schema is some other document."""
    assert refusal(lambda: from_dict({})) == "schema: missing; this is not a document of pytest-memguard"


@pytest.mark.parametrize("read", [from_dict, result_from_dict])
def test_not_an_object(read: Callable[[Any], object]) -> None:
    """A list is no document."""
    assert refusal(lambda: read([1])) == "the document: [1] is not an object"


def test_nested_too_deep() -> None:
    """An object nested without end is refused like others."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}

    assert refusal(lambda: from_dict(changed(("environment",), deep))) == (
        "environment: it is nested too deep, or holds itself"
    )


@given(st.sampled_from(EVERYWHERE), st.one_of(JSON_VALUES, st.sampled_from([nan, inf, type(None)])))
def test_any_change_is_read_or_refused(path: tuple[str | int, ...], value: object) -> None:
    """Whatever stands in any one place, the answer is a session or one line."""
    try:
        answer = repr(from_dict(changed(path, value)).duration_s)
    except DocumentError as refused:
        answer = str(refused)

    assert len(answer.splitlines()) == 1


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_short(share: float) -> None:
    """A document that was cut short is called that."""
    text = dumps(session())

    assert refusal(lambda: loads(text[: int(len(text) * share)])).startswith("this is not JSON, or was cut short: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1\n 2]", "this is not JSON, or was cut short: Expecting ',' delimiter at line 2, column 2"),
        ('{"summary": {"overhead_ratio": NaN}}', "summary.overhead_ratio: nan is not a number"),
        ('{"ignored": [0, -Infinity]}', "ignored[1]: -inf is not a number"),
        ('{"a": NaN, "a": 1}', "NaN is not JSON"),
    ],
)  # fmt: skip
def test_text_refused(text: str, message: str) -> None:
    """What is not JSON is refused, also what Python alone would take, also in places that nobody looks at."""
    assert refusal(lambda: loads(text)) == message


def test_a_number_beyond_all_bounds() -> None:
    """JSON can spell numbers that no float holds; they are refused where they stand."""
    text = dumps(session()).replace('"duration_s":0.5', '"duration_s":1e999')

    assert refusal(lambda: loads(text)) == "results[0].duration_s: inf is not a number"


@pytest.mark.parametrize("text", ["[" * 1_000_000, f"[{'1' * 5000}]"], ids=["brackets", "digits"])
def test_text_beyond_all_bounds(text: str) -> None:
    """Brackets without end and numbers of thousands of digits are refused like others."""
    refusal(lambda: loads(text))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (session(duration_s=nan), "duration_s: nan is not a number"),
        (session(example(), example(duration_s=inf)), "results[1].duration_s: inf is not a number"),
        (session(settings={"json": Path("a")}), f"settings.json: {Path('a')!r} is not a JSON value"),
        (session(settings={("a", 1): 1}), "settings[('a', 1)]: the key is not text"),
        (session(environment={"n": 10**5000}), None),
    ],
)
def test_not_written(result: RunResult, message: str | None) -> None:
    """What JSON cannot hold is not written; the message names its place."""
    text = refusal(lambda: dumps(result))

    assert message is None or text == message


def test_a_circle_is_not_written() -> None:
    """What holds itself is not written."""
    settings: dict[str, Any] = {}
    settings["settings"] = settings

    assert refusal(lambda: dumps(session(settings=settings))) == "the document: it is nested too deep, or holds itself"


# -- the verdict again -----------------------------------------------------------------------------------------------


def measured(growth: Callable[[int], int], holder: Holder, metric: Metric = BLOCKS) -> SubjectResult:
    """Climb the ladder with a counter that stands at *growth* of the runs made, as the engine would, and judge."""
    plan = Plan()
    runs, phases = [0], [Phase.SCREEN]

    def taken() -> Readings:
        return Readings((metric,), tuple(runs), tuple(phases), array("q", [1000 + growth(run) for run in runs]))

    seen: Holder | None = None
    step = advance(taken(), plan, seen)
    while step.act is not Act.STOP:
        if step.act is Act.LOOK:
            seen = holder
        else:
            runs.append(runs[-1] + (step.act in (Act.RUN, Act.COLLECT)))
            phases.append(Phase.CONFIRM if step.act is Act.COLLECT else step.phase)
        step = advance(taken(), plan, seen)
    kept = seen or Holder()
    return SubjectResult("a", "test", judge(taken(), plan, step, kept), readings=taken(), plan=plan, holder=kept)


@pytest.mark.parametrize(
    ("growth", "holder", "level"),
    [
        (lambda run: 0, Holder(), Level.CLEAN),
        (lambda run: 7 * min(run, 4), Holder(), Level.SETTLED),
        (lambda run: 7 * run, Holder("bounded", "shop.cache", 500), Level.BOUNDED),
        (lambda run: 7 * run, Holder("unbounded", "shop.seen"), Level.LEAK),
        (lambda run: 7 * run, Holder("hidden"), Level.GROWING),
    ],
    ids=["clean", "settled", "bounded", "leak", "growing"],
)
def test_the_verdict_can_be_made_again(
    growth: Callable[[int], int], holder: Holder, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document holds all that its verdicts were made from."""
    monkeypatch.setattr(calibration, "CLEAN", {("full", "exact", "unbounded"): 1e-5})
    monkeypatch.setattr(calibration, "LEAKING", {("full", "exact", "unbounded"): 0.9})
    result = measured(growth, holder)
    back = loads(dumps(session(result))).results[0]

    assert result.verdict.level is level
    assert back.readings is not None
    assert rejudge(back.readings, back.plan, back.holder, back.stopped) == result.verdict


def test_a_verdict_that_was_cut_short_can_be_made_again() -> None:
    """So can that of a measurement whose budget was spent."""
    full = measured(lambda run: 7 * run, Holder("hidden"), FDS)
    assert full.readings is not None
    n = 20
    part = replace(
        full.readings, runs=full.readings.runs[:n], phases=full.readings.phases[:n], values=full.readings.values[:n]
    )
    failure = "over the budget"
    verdict = rejudge(part, full.plan, Holder(), failure)
    result = replace(full, readings=part, holder=Holder(), stopped=failure, verdict=verdict)
    back = loads(dumps(session(result))).results[0]

    assert verdict.level is Level.GROWING
    assert back.readings is not None
    assert rejudge(back.readings, back.plan, back.holder, back.stopped) == verdict


# -- speed -----------------------------------------------------------------------------------------------------------


def test_a_large_suite_stays_small() -> None:
    """Ten thousand clean tests, 9 metrics and 3 readings each, fit in 15 MB."""
    metrics = tuple(METRICS.values())[:9]
    values = array("q", [1_123_456, 234_567, 12_345, 12, 3, 0, 0, 98_765_432, 1_234_567_890] * 3)
    one = SubjectResult(
        id="tests/unit/test_module_with_a_name.py::TestSomething::test_case_of_it[parameter-12]",
        kind="test",
        verdict=measured(lambda run: 0, Holder()).verdict,
        runs=3,
        duration_s=0.0012345678,
        first_run_s=0.00045678912,
        file="tests/unit/test_module_with_a_name.py",
        line=123,
        worker="gw12",
        readings=Readings(metrics, (0, 1, 2), (Phase.SCREEN,) * 3, values),
        plan=Plan(control=tuple((metric.name, 0.0, 0.0) for metric in metrics)),
    )

    assert 10 * len(dumps(session(*[one] * 1000))) < 15e6
