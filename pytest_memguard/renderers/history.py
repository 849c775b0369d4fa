"""The history of causes over commits: text with sparklines, a page, and as plain types."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from html import escape
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import Unit, amount, signed
from pytest_memguard.renderers._words import counted, joined, noun_of, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.core.past import CauseTrend, Point

__all__ = ["bisect_lines", "page", "sparkline", "text", "to_dict"]

_BARS = "▁▂▃▄▅▆▇█"
_NOT_MEASURED, _NOTHING = " ", "·"
_MOST_POINTS = 60
_SHA = re.compile(r"[0-9a-f]{7,64}")
#: Growth that another metric tells of.
_LITTLE = 1e-6


def text(trends: Sequence[CauseTrend], commits: int) -> str:
    """Return each cause with its sparkline, where it came and how to find the commit."""
    there = amount(sum(trend.is_there for trend in trends), Unit.COUNT)
    head = f"memguard: {counted(commits, 'commit')}, {counted(len(trends), 'cause')}, {there} still there"
    return "\n".join([head, *(line for trend in trends for line in _lines(trend))])


def sparkline(points: Sequence[Point]) -> str:
    """Return one character a point: a bar of its growth, a dot where it did not grow, a blank if not measured."""
    shown = points[-_MOST_POINTS:]
    most = max((point.per_run or 0.0 for point in shown), default=0.0)
    return "".join(_bar(point.per_run, most) for point in shown)


def _bar(rate: float | None, most: float) -> str:
    if rate is None:
        return _NOT_MEASURED
    if rate <= 0 or most <= 0:
        return _NOTHING
    return _BARS[min(len(_BARS) - 1, int(rate / most * len(_BARS)))]


def bisect_lines(trend: CauseTrend) -> list[str]:
    """
    Return the commands that find the first bad commit; none where it is known already, or no commit is.

    A commit at which the test is not there, or fails to start, is skipped.
    """
    bad, good = trend.first_bad, trend.last_good
    tests = [test for test in trend.tests if "::" in test and test.isprintable()]
    if bad is None or good is None or not tests:
        return []
    if bad.dirty or good.dirty or not (_SHA.fullmatch(bad.sha) and _SHA.fullmatch(good.sha)):
        return []
    fails = "growing" if trend.verdict == "growing" else "leak"
    check = f"pytest -q {shlex.quote(tests[0])} --memguard --memguard-fail-on={fails}"
    script = f"{check}; case $? in 0) exit 0;; 1) exit 1;; *) exit 125;; esac"
    return [f"git bisect start {bad.sha} {good.sha}", f"git bisect run sh -c {shlex.quote(script)}"]


def to_dict(trends: Sequence[CauseTrend], commits: int) -> dict[str, Any]:
    """Return the history as dicts, lists, text and numbers."""
    return {"schema": "memguard-history/1", "commits": commits, "causes": [_cause_to_dict(trend) for trend in trends]}


def _cause_to_dict(trend: CauseTrend) -> dict[str, Any]:
    return {
        "fingerprint": trend.fingerprint,
        "text": trend.text,
        "verdict": trend.verdict,
        "metric": trend.metric.name,
        "unit": trend.metric.unit.value,
        "is_there": trend.is_there,
        "first_bad": _point_to_dict(trend.first_bad),
        "last_good": _point_to_dict(trend.last_good),
        "points": [_point_to_dict(point) for point in trend.points],
        "results": list(trend.tests),
        "bisect": bisect_lines(trend),
    }


def _point_to_dict(point: Point | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {"time": point.time, "sha": point.sha, "dirty": point.dirty, "per_run": point.per_run}


# -- text ------------------------------------------------------------------------------------------------------------


def _lines(trend: CauseTrend) -> list[str]:
    line = f"  {sparkline(trend.points)}  {_latest(trend)}  {plain(trend.text)}  [{plain(trend.fingerprint)}]"
    tests = [f"    in {joined([plain(test) for test in trend.tests])}"] if trend.tests else []
    return [line, f"    {_story(trend)}", *tests, *(f"    {command}" for command in bisect_lines(trend))]


def _latest(trend: CauseTrend) -> str:
    rates = [point.per_run for point in trend.points if point.per_run is not None]
    if not rates or not rates[-1]:
        return "gone"
    return _growth(trend, rates[-1])


def _growth(trend: CauseTrend, rate: float) -> str:
    if rate < _LITTLE:
        return "by other metrics"
    number = signed(rate, trend.metric.unit)
    return f"{number} {noun_of(trend.metric, number)} a run"


def _story(trend: CauseTrend) -> str:
    bad, good = trend.first_bad, trend.last_good
    if bad is None:
        last = [point for point in trend.points if point.per_run]
        return f"seen last at {plain(last[-1].label)} ({_day(last[-1])})" if last else "not seen"
    first = f"first bad commit: {plain(bad.label)} ({_day(bad)})"
    if good is None:
        return f"{first}, the first that measured it"
    between = _between(trend, good, bad)
    unsure = f"; {counted(between, 'commit')} between not measured" if between else ""
    return f"{first}; last good: {plain(good.label)} ({_day(good)}){unsure}"


def _between(trend: CauseTrend, good: Point, bad: Point) -> int:
    return trend.points.index(bad) - trend.points.index(good) - 1


def _day(point: Point) -> str:
    return plain(point.time[:10])


# -- page ------------------------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--line:#0b62a4;--soft:#8888}
@media (prefers-color-scheme:dark){:root{--line:#6cb6ff}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
section{border-top:1px solid var(--soft);padding:1rem 0}
h2{font-size:1.1rem;margin:0;overflow-wrap:anywhere}
svg{width:100%;height:5rem}
polyline{fill:none;stroke:var(--line);stroke-width:2;vector-effect:non-scaling-stroke}
circle{fill:var(--line)}
table{border-collapse:collapse}
td,th{text-align:left;padding:.1rem 1rem .1rem 0}
pre{overflow:auto}
"""
_WIDE, _HIGH = 600, 60


def page(trends: Sequence[CauseTrend], commits: int) -> str:
    """Return one HTML file: it asks for nothing, runs nothing, and is complete as it is."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    there = amount(sum(trend.is_there for trend in trends), Unit.COUNT)
    head = f"{counted(commits, 'commit')}, {counted(len(trends), 'cause')}, {there} still there"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>Leaks over commits: {there} still there</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>Leaks over commits</h1><p>{head}</p>",
            *(_section(trend) for trend in trends),
            "</main></body></html>",
        ]
    )


def _section(trend: CauseTrend) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_safe(point.label)}</th><td>{_safe(point.time)}</td>'
        f"<td>{_safe(_cell(trend, point))}</td></tr>"
        for point in trend.points
    )
    commands = "\n".join(bisect_lines(trend))
    find = f"<p>To find the commit:</p><pre>{_safe(commands, keep_lines=True)}</pre>" if commands else ""
    return (
        f"<section><h2>{_safe(trend.text)}</h2><p>{_safe(_latest(trend))}. {_safe(_story(trend))}. "
        f"Fingerprint <code>{_safe(trend.fingerprint)}</code>, in {_safe(joined(list(trend.tests)))}</p>"
        f"{_chart(trend)}{find}<details><summary>The numbers</summary><table><thead><tr><th scope=col>Commit</th>"
        f"<th scope=col>Time</th><th scope=col>Growth a run</th></tr></thead><tbody>{rows}</tbody>"
        "</table></details></section>"
    )


def _cell(trend: CauseTrend, point: Point) -> str:
    if point.per_run is None:
        return "not measured"
    return _growth(trend, point.per_run) if point.per_run else amount(0, trend.metric.unit)


def _chart(trend: CauseTrend) -> str:
    places = [(at, point.per_run) for at, point in enumerate(trend.points) if point.per_run is not None]
    most = max((rate for _, rate in places), default=0.0) or 1.0
    step = _WIDE / max(1, len(trend.points) - 1)
    dots = [(round(at * step, 1), round(_HIGH - rate / most * (_HIGH - 10) - 5, 1)) for at, rate in places]
    line = " ".join(f"{x},{y}" for x, y in dots)
    marks = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in dots)
    told = _safe(f"growth a run over {counted(len(trend.points), 'commit')}, at most {amount(most, trend.metric.unit)}")
    view = f"-5 0 {_WIDE + 10} {_HIGH}"
    return f'<svg viewBox="{view}" role="img" aria-label="{told}"><polyline points="{line}"/>{marks}</svg>'


def _safe(words: str, *, keep_lines: bool = False) -> str:
    return escape("\n".join(map(plain, words.split("\n"))) if keep_lines else plain(words))
