"""The trap suites: measured or not, every test has the same outcome, and only what leaks is called a leak."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

#: These keep something for ever, if only in a place of the standard library's.
_LEAKS = {"test_leak", "test_new_logger", "test_new_context_variable"}
if sys.version_info[:2] == (3, 12):
    _LEAKS.add("test_new_attribute_name")  # interned strings are immortal there


@pytest.fixture(scope="module")
def plain(run_project: RunProject, traps: Path) -> Session:
    """All trap suites without the plugin."""
    return run_project(traps, "-p", "no:memguard", plugins=None, document=False)


@pytest.fixture(scope="module")
def measured(run_project: RunProject, traps: Path) -> Session:
    """All trap suites with every passing test measured, leaks reported and not failing."""
    return run_project(traps, "--memguard", "--memguard-fail-on=never", "-rA", plugins=None)


def test_every_outcome_is_the_plain_one(plain: Session, measured: Session) -> None:
    """Measuring changes the outcome of no test."""
    assert measured.outcomes == plain.outcomes


def test_every_count_is_the_plain_one(plain: Session, measured: Session) -> None:
    """The last line counts the same passes, failures, skips, sub-tests, warnings, errors and retries."""
    assert measured.tally == plain.tally


def test_the_exit_code_is_the_plain_one(plain: Session, measured: Session) -> None:
    """The session ends as it does without the plugin."""
    assert measured.returncode == plain.returncode


def test_every_passing_test_is_measured(measured: Session) -> None:
    """Only what does not pass is not measured, and the one test that passes once and never again."""
    not_measured = {name for name, result in measured.results.items() if result["runs"] == 1}

    assert not_measured - {"test_subtests"} == {  # which needs pytest 9
        "test_broken_tear_down",
        "test_expected_failure",
        "test_fails",
        "test_fails_each_time",
        "test_fails_later",
        "test_skipped",
        "test_skips_itself",
    }


def test_what_leaks_is_found(measured: Session) -> None:
    """The tests that grow exactly the same amount each run are leaks."""
    assert (measured.verdict("test_leak"), measured.verdict("test_new_logger")) == ("leak", "leak")


def test_what_does_not_leak_is_no_leak(measured: Session) -> None:
    """No other test of any shape is called a leak."""
    leaks = {name for name, result in measured.results.items() if result["verdict"] == "leak"}

    assert leaks <= _LEAKS


def test_every_test_has_one_result(measured: Session) -> None:
    """A test that was tried again has the result of its last try."""
    assert measured.verdict("test_passes_at_the_second_try") in {"clean", "settled"}


def test_nothing_is_reported_twice(plain: Session, measured: Session) -> None:
    """What the tests print, log and record stands in the JUnit report as often as without the plugin."""
    texts = [
        (case.get("name"), child.tag, re.sub(r"\d+", "0", child.text or ""))
        for session in (plain, measured)
        for case in session.junit.iter("testcase")
        for child in case
        if child.tag.startswith("system")
    ]

    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :]


def test_sections_are_not_doubled(measured: Session) -> None:
    """Captured output is shown once with ``-rA``."""
    assert [measured.stdout.count(text) for text in ("printed once", "written once", "logged once\n")] == [1, 1, 1]


def test_warnings_are_shown_once(plain: Session, measured: Session) -> None:
    """A warning of a test is listed once."""
    assert [measured.stdout.count(text) for text in ("UserWarning: warned once", "Warning: deprecated once")] == [1, 1]


def test_properties_are_recorded_once(plain: Session, measured: Session) -> None:
    """Properties of tests and of the suite are not multiplied."""
    properties = [
        sorted((entry.get("name"), entry.get("value")) for entry in session.junit.iter("property"))
        for session in (plain, measured)
    ]
    own = [[(name, value) for name, value in found if not str(name).startswith("memguard.")] for found in properties]
    names = [[name for name, _ in found if not str(name).startswith("hypothesis")] for found in own]

    assert names == [["colour", "taste"], ["colour", "taste"]]
    assert len(own[0]) == len(own[1])


def test_temporary_folders_do_not_pile_up(plain: Session, measured: Session) -> None:
    """The folders of a run are those of the user's own run, the link to the newest one included."""
    trees = [
        sorted(path.relative_to(session.folder).as_posix() for path in (session.folder / "temporary").rglob("*"))
        for session in (plain, measured)
    ]

    assert trees[0] == trees[1]
    assert len(trees[0]) > 5


#: What the traps need of installed plugins where the idioms are left out.
_FEW_PLUGINS = ("asyncio", "rerunfailures", "xdist")
_NO_IDIOMS = "--ignore=test_idioms.py"


def _both(
    run_project: RunProject, traps: Path, *options: str, plugins: tuple[str, ...] | None = _FEW_PLUGINS
) -> tuple[Session, Session]:
    """Run the traps without the plugin and with few repeats of each test."""
    few = ("--memguard", "--memguard-fail-on=never", "--memguard-max-runs=4")
    plain = run_project(traps, *options, "-p", "no:memguard", plugins=plugins, document=False)
    return plain, run_project(traps, *few, *options, plugins=plugins)


def test_outcomes_are_the_plain_ones_with_warnings_as_errors(run_project: RunProject, traps: Path) -> None:
    """What a warning fails, and what it does not, is the same; no repeat adds a warning of its own."""
    plain, measured = _both(run_project, traps, "-W", "error", plugins=None)

    assert measured.outcomes == plain.outcomes
    assert measured.tally == plain.tally


@pytest.mark.parametrize(
    "options",
    [
        "-n 2",
        "--reruns 1",
        "-p no:logging",
        "-p no:tmpdir -p no:xdist -p no:cacheprovider",
        "-p no:unraisableexception -p no:threadexception -p no:warnings",
    ],
)
def test_outcomes_are_the_plain_ones_with(run_project: RunProject, traps: Path, options: str) -> None:
    """Outcomes and counts stay the plain ones whatever pytest is told, and whatever it is to do without."""
    plain, measured = _both(run_project, traps, _NO_IDIOMS, *options.split())

    assert measured.outcomes == plain.outcomes
    assert measured.tally == plain.tally


@pytest.mark.parametrize("capture", ["no", "tee-sys"])
def test_nothing_is_printed_twice_with_capture(run_project: RunProject, traps: Path, capture: str) -> None:
    """What goes to the terminal directly goes there once, set-up and tear-down of module fixtures included."""
    plain, measured = _both(run_project, traps, f"--capture={capture}", _NO_IDIOMS)
    texts = ("printed once", "the house is built", "the house is torn down", "written once")
    counts = [[(one.stdout + one.stderr).count(text) for text in texts] for one in (plain, measured)]

    assert counts[1] == counts[0]
    assert 0 not in counts[0]


def test_fixtures_are_shown_once(run_project: RunProject, traps: Path) -> None:
    """``--setup-show`` shows each set-up and tear-down of the user's own run, and no other."""
    shown = [
        sorted(line.strip(" .us") for line in session.stdout.splitlines() if "SETUP" in line or "TEARDOWN" in line)
        for session in _both(run_project, traps / "test_shapes.py", "--setup-show")
    ]

    assert shown[1] == shown[0]


def test_live_logs_are_shown_once(run_project: RunProject, traps: Path) -> None:
    """``--log-cli-level`` and ``--log-file`` show a line that a test logs once."""
    logs = "--log-cli-level=WARNING", "--log-file=logs.txt"

    _, measured = _both(run_project, traps / "test_shapes.py", *logs)

    assert measured.stdout.count("logged once") == 1
    assert (measured.folder / "logs.txt").read_text(encoding="utf-8").count("logged once") == 1
