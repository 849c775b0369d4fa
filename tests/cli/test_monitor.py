"""`memguard monitor`: a tree of processes watched, and a verdict on each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from jsonschema import Draft202012Validator

from pytest_memguard import store
from pytest_memguard.agent.outside import ProcessReading, TreeReading
from pytest_memguard.cli import main
from pytest_memguard.cli._monitor_view import LiveView, PlainView, line, view
from pytest_memguard.cli._watching import Growth, History, Indicator
from pytest_memguard.core.values import BLOCKS, HEAP, RSS, Level

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "result.schema.json"
MEMGUARD = (sys.executable, "-c", "import sys; from pytest_memguard.cli import main; sys.exit(main())")
LEAKY = "import time\nkept = []\nwhile True: kept.extend({'n': [n]} for n in range(300)); time.sleep(0.01)"
CLEAN = "import time\nwhile True: [{'n': [n]} for n in range(300)]; time.sleep(0.01)"
MIB = 2**20
GROWTH = Growth(50 * MIB, 100 * MIB)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the folders of agents of each test below its own folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def tree(time_s: float, rss: int = 50 * MIB, blocks: int | None = 1000, **changes: object) -> TreeReading:
    """Return a reading of one process."""
    values = {
        "pid": 7, "started_s": 1.0, "name": "python app.py", "rss_bytes": rss, "uss_bytes": rss - MIB, "fds": 5,
        "threads": 2, "blocks": blocks, "heap_bytes": None if blocks is None else 8 * MIB,
        "collections": () if blocks is None else (9, 3, int(time_s)), **changes,
    }  # fmt: skip
    return TreeReading(time_s, (ProcessReading(**values),))  # type: ignore[arg-type]


def history(*readings: TreeReading) -> History:
    """Return what is known after these readings."""
    found = History(GROWTH)
    for reading in readings:
        found.add(reading)
    return found


# -- verdicts --------------------------------------------------------------------------------------------------------


def test_a_leak() -> None:
    """Blocks that grow with each second are a leak, with its rate, its readings and what to do."""
    (result,) = history(*(tree(at, blocks=1000 + 500 * at) for at in range(40))).results()
    (finding,) = result.findings

    assert (result.id, result.kind, result.verdict.level) == ("python app.py", "process", Level.LEAK)
    assert finding.metric == BLOCKS
    assert finding.trend.slope.point == pytest.approx(500, rel=0.02)
    assert "memguard diff" in finding.advice
    assert {series.metric.name for series in result.series()} == {"rss", "uss", "heap", "blocks", "fds", "threads"}
    assert result.series()[0].x[-1] == 39.0


def test_no_growth() -> None:
    """What stands still is clean."""
    (result,) = history(*(tree(at) for at in range(40))).results()

    assert result.verdict.level is Level.CLEAN
    assert result.findings == ()


@pytest.mark.parametrize(("readings", "level"), [(14, Level.UNMEASURED), (15, Level.CLEAN)])
def test_how_many_readings_a_verdict_needs(readings: int, level: Level) -> None:
    """Fifteen readings are the fewest."""
    (result,) = history(*(tree(at) for at in range(readings))).results()

    assert result.verdict.level is level


def test_a_slow_leak_is_not_taken_for_our_own_readings() -> None:
    """Readings are kept here and not there: eight blocks a second are a leak, not what a reading costs."""
    (result,) = history(*(tree(at, blocks=1000 + 8 * at) for at in range(60))).results()

    assert result.verdict.level is Level.LEAK
    assert result.findings[0].trend.slope.point == pytest.approx(8, rel=0.05)


def test_growth_without_an_agent() -> None:
    """Resident memory alone is judged too, and it is said that nobody inside could tell more."""
    (result,) = history(*(tree(at, rss=50 * MIB + at * MIB, blocks=None) for at in range(40))).results()

    assert result.verdict.level is Level.LEAK
    assert result.findings[0].metric == RSS
    assert "no agent is inside" in result.verdict.reason
    assert HEAP not in {series.metric for series in result.series()}


def test_resident_memory_that_grows_alone() -> None:
    """Where heap and blocks stand still, it is fragmentation: growing, but no leak."""
    (result,) = history(*(tree(at, rss=50 * MIB + at * MIB) for at in range(40))).results()

    assert result.verdict.level is Level.GROWING


def test_each_process_is_judged() -> None:
    """Of two workers with one name the leaky one is told from the clean one; one that came and went is left out."""
    readings = []
    for at in range(40):
        one, two = tree(at).processes[0], tree(at, pid=8, blocks=1000 + 500 * at).processes[0]
        short = tree(at, pid=9, name="sh").processes if at < 5 else ()
        readings.append(TreeReading(at, (one, two, *short)))
    results = history(*readings).results()

    assert [(one.id, one.verdict.level) for one in results] == [
        ("python app.py", Level.CLEAN),
        ("python app.py #2", Level.LEAK),
    ]


def test_another_process_of_the_same_number() -> None:
    """A later process of the same number has a result of its own."""
    readings = [tree(at, started_s=1.0 if at < 20 else 2.0) for at in range(40)]

    assert [one.id for one in history(*readings).results()] == ["python app.py", "python app.py #2"]


def test_long_watches_are_thinned() -> None:
    """What is older than half an hour is kept a minute apart."""
    watched = history(*(tree(at) for at in range(0, 7200, 5)))
    (result,) = watched.results()
    times = result.series()[0].x

    assert len(times) == 1800 // 5 + 1 + 5400 // 60
    assert (times[0], times[-1]) == (0.0, 7195.0)


# -- indicators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grown", "indicator"),
    [
        (-MIB, Indicator.HEALTHY),
        (50 * MIB - 1, Indicator.HEALTHY),
        (50 * MIB, Indicator.WARNING),
        (100 * MIB - 1, Indicator.WARNING),
        (100 * MIB, Indicator.CRITICAL),
    ],
)
def test_the_indicator(grown: int, indicator: Indicator) -> None:
    """Growth of resident memory since the first reading decides."""
    assert history(tree(0.0), tree(1.0, rss=50 * MIB + grown)).indicator is indicator


def test_a_line() -> None:
    """A reading on one line; a dash for what nobody tells."""
    seen = history(tree(0.0))
    grown = tree(61.0, rss=110 * MIB)
    seen.add(grown)

    assert line(grown, seen, 61.2) == (
        "01:01  rss 110.0 MiB (+60.0 MiB)  uss 109.0 MiB  heap 8.0 MiB  blocks 1000  fds 5  threads 2  gc 61  "
        "processes 1  warning"
    )
    assert "heap -  blocks -  fds 5  threads 2  gc -" in line(tree(0.0, blocks=None), seen, 0.0)


def test_lines_are_a_second_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """At five readings a second nobody could read them all."""
    shown = PlainView(sys.stdout)
    for at in range(11):
        shown.show(tree(at / 5), history(tree(0.0)), at / 5)

    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_live_view(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has each process, their sum, and what the command says above it, no markup of its own in it."""
    monkeypatch.setenv("COLUMNS", "160")
    both = TreeReading(1.0, (tree(1.0).processes[0], tree(1.0, pid=8, name="[red]worker").processes[0]))
    shown = LiveView("app")
    shown.say("[bold]started\x1b[31m")
    shown.show(both, history(both), 1.0)
    shown.close()
    out = capsys.readouterr().out

    assert "[bold]started" in out
    assert "\x1b" not in out
    for text in ("app", "healthy", "together", "[red]worker"):
        assert text in out


def test_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal without rich gets plain lines, and a word on how to get the other."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich.console", None)

    assert isinstance(view("app", is_plain=False), PlainView)
    assert 'pip install "pytest-memguard[harness]"' in capsys.readouterr().err


# -- the command -----------------------------------------------------------------------------------------------------


def watch(*arguments: str, program: str, seconds: float = 2.0) -> subprocess.CompletedProcess[str]:
    """Run ``memguard monitor`` over *program*."""
    return subprocess.run(
        [*MEMGUARD, "monitor", "-i", "0.05", "-d", str(seconds), "-w", "0.3", *arguments,
         "--", sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_leaky_command(tmp_path: Path, home: Path) -> None:
    """It ends with 1, and leaves a valid document, a log and nothing else."""
    done = watch("-o", str(tmp_path / "run.json"), "-l", str(tmp_path / "run.log"), program=LEAKY)
    content = json.loads((tmp_path / "run.json").read_text())
    (result,) = store.read(tmp_path / "run.json").results

    assert done.returncode == 1, done.stderr
    assert list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(content)) == []
    assert (result.kind, result.verdict.level) == ("process", Level.LEAK)
    assert result.findings[0].metric == BLOCKS
    assert "leak, " in done.stdout
    assert 15 <= len((tmp_path / "run.log").read_text().splitlines()) <= 50  # one a reading, and a title
    assert list(home.glob("memguard-*/*")) == []


def test_a_clean_command_as_json() -> None:
    """It ends with 0; with --json the document is all that is printed."""
    done = watch("--json", program=CLEAN)

    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["results"][0]["verdict"] == "clean"
    assert done.stderr == ""


def test_the_document_tells_what_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The command with its arguments is in the settings, as that of a soak is."""
    command = [sys.executable, "-c", "pass"]
    main(["monitor", "-i", "0.05", "-d", "5", "--json", "--", *command])
    settings = json.loads(capsys.readouterr().out)["settings"]

    assert settings["services"] == [{"name": Path(sys.executable).name, "command": command}]


def test_nothing_is_left_running() -> None:
    """What the command has started is ended too, though it ignores TERM and has left the session."""
    program = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([{sys.executable!r}, "-c", "import signal, time; signal.signal(15, 1); time.sleep(99)"],
                         start_new_session=True)
print("child", child.pid, file=sys.stderr, flush=True)
time.sleep(99)
"""
    from pytest_memguard.cli import _command

    command = _command.Command([sys.executable, "-u", "-c", program])
    family: list[psutil.Process] = []
    while len(family) < 2 or not all(one.cmdline() for one in family):
        process = psutil.Process(command.pid)
        family = [process, *process.children(recursive=True)]
        time.sleep(0.01)
    grace, _command._GRACE_S = _command._GRACE_S, 0.3
    try:
        command.stop()
    finally:
        _command._GRACE_S = grace

    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C prints the verdict on what was measured, ends the command, and ends with 130."""
    process = subprocess.Popen(
        [*MEMGUARD, "monitor", "-i", "0.05", "-w", "0", "-d", "0", "-l", str(tmp_path / "log"), "--",
         sys.executable, "-c", f"import os; print('pid', os.getpid(), flush=True)\n{LEAKY}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = tmp_path / "log"
    try:
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 40):
            time.sleep(0.02)
        process.send_signal(number)
        out, said = process.communicate(timeout=30)
    finally:
        process.terminate()  # a leak that nobody ends would go on after the tests
    pid = int(said.split()[1])

    assert process.returncode == 130
    assert "leak, " in out
    assert not psutil.pid_exists(pid)


def test_a_running_process(tmp_path: Path) -> None:
    """A process by its number is watched and left alone."""
    with subprocess.Popen([sys.executable, "-c", CLEAN]) as process:
        code = main(["monitor", str(process.pid), "-i", "0.05", "-d", "1.2", "-o", str(tmp_path / "run.json.gz")])
        alive = process.poll() is None
        process.kill()

    assert code in (0, 3)
    assert alive
    assert store.read(tmp_path / "run.json.gz").results[0].timeline
    assert store.read(tmp_path / "run.json.gz").settings["process"] == process.pid


def test_a_process_that_dies_meanwhile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured is kept and judged; the code says that it was cut short."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.8)"]) as process:
        code = main(["monitor", str(process.pid), "-i", "0.05", "-d", "30", "-o", str(tmp_path / "run.json")])

    assert code == 4
    assert f"process {process.pid} has ended after" in capsys.readouterr().err
    assert "has ended" in store.read(tmp_path / "run.json").settings["ended"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "by signal 9"),
        ("", "exit code 0"),
    ],
)
def test_a_command_that_exits_at_once(capsys: pytest.CaptureFixture[str], program: str, words: str) -> None:
    """It says how it ended, with code 4."""
    code = main(["monitor", "-i", "0.05", "--", sys.executable, "-c", program])

    assert code == 4
    assert words in capsys.readouterr().err


def test_a_command_that_says_a_lot(capfd: pytest.CaptureFixture[str]) -> None:
    """Its output goes where errors go, and does not hold anything up."""
    program = "import os\nfor _ in range(2000): os.write(1, b'x' * 999 + b'\\n')"
    main(["monitor", "-i", "0.05", "--json", "--", sys.executable, "-c", program])
    out, said = capfd.readouterr()

    assert json.loads(out)["settings"]["command"] == "monitor"
    assert said.count("x") >= 2000 * 999


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "write the number of a process"),
        ([str(2**22 + 1)], 4, "there is no process"),
        (["--", "/no/such/command"], 4, "cannot be run: No such file"),
        (["1", "-i", "0.04"], 2, "--interval"),
        (["1", "-i", "nan"], 2, "--interval"),
        (["1", "-d", "-1"], 2, "--duration"),
        (["1", "-d", "inf"], 2, "--duration"),
        (["1", "-w", "-1"], 2, "--warm-up"),
        (["1", "--warning", "much"], 2, "--warning"),
        (["1", "--warning", "2 GB"], 2, "is more than --critical"),
        (["1", "-o", "/no/such/folder/run.json"], 2, "--output"),
        (["1", "-l", "/no/such/folder/log"], 2, "--log"),
        (["1", "-o", "run.json", "--json"], 2, "choose one"),
    ],
)
def test_what_cannot_be(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    """Bad input is one clear line before anything is started."""
    assert main(["monitor", *arguments]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("choice", "code"), [([], 3), (["--undecided=pass"], 0), (["--undecided=fail"], 1)])
def test_too_short_to_tell(choice: list[str], code: int) -> None:
    """A watch without enough readings is not decided; what that means can be chosen."""
    assert main(["monitor", str(os.getpid()), "-i", "0.05", "-d", "0.2", *choice]) == code
