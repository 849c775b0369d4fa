"""The dashboard of the demo in a real browser, over a demo that runs: driven by its own buttons and keys."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_memguard.core.units import Unit, amount, duration

pytest.importorskip("uvicorn", reason="the demo needs the extra [harness]")

_PROGRAM = "import sys; from pytest_memguard.cli import main; sys.exit(main())"
_SENTENCE = "document.getElementById('sentence').textContent"
_TOLD = "document.getElementById('told').textContent"
_SAID = "document.getElementById('said').textContent"
_STATE = "document.getElementById('state').className"
_BACKGROUND = "getComputedStyle(document.body).backgroundColor"
_MANY_READINGS = 60


class Tab(Protocol):
    """What ``conftest.Tab`` can do; a test cannot import it from there."""

    browser: Any
    session: str

    def say(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the browser's own protocol."""

    def run(self, expression: str) -> Any:  # noqa: ANN401 - whatever it gives
        """Return the value of a JavaScript expression."""

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""

    def key(self, key: str) -> None:
        """Press a key."""

    def complaints(self) -> list[str]:
        """Return what was logged."""


Opened = Callable[..., Tab]


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[int]:
    """Run `memguard serve`, whose guard takes a dozen readings a second below 128 MiB, and yield its port."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MEM", "CACHE_", "PORT"))}
    environ = {
        **kept,
        "MAX_HEAP_SIZE": "128 MiB",
        "MEMORY_MONITORING_INTERVAL": "80ms",
        "MEMGUARD_WINDOW": str(_MANY_READINGS),
        "HEAP_SNAPSHOT_DIR": str(folder / "snapshots"),
    }
    command = [sys.executable, "-c", _PROGRAM, "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process:
        try:
            found = re.search(rb"http://[^:]+:(\d+)", process.stdout.readline())
            assert found, "the demo does not start"
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the demo runs."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """Return the port of a demo for all tests of this file."""
    with serving(folder) as where:
        yield where


@pytest.fixture
def look(opened: Opened, port: int) -> Iterator[Opened]:
    """Yield a function that opens the dashboard, light or dark, with all leaks off and nothing held."""
    ask(port, "POST", "/api/cleanup")
    for leak in json.loads(ask(port, "GET", "/api/leaks")[1])["leaks"]:
        if leak["mode"] != "off":
            ask(port, "PUT", f"/api/leaks/{leak['name']}", {"mode": "off"})

    tabs = []

    def open_dashboard(where: int = port, scheme: str = "light") -> Tab:
        tab = opened("", scheme=scheme)
        tabs.append(tab)
        tab.browser.events.clear()
        tab.say("Page.navigate", url=f"http://127.0.0.1:{where}/")
        tab.browser.wait_for("Page.loadEventFired", tab.session)
        tab.until(f"{_STATE} === 'state live'")
        return tab

    yield open_dashboard
    for tab in tabs:  # each holds one of the six connections that a browser opens to a service
        tab.say("Page.close")


def ask(port: int, method: str, path: str, body: object = None) -> tuple[dict[str, str], str]:
    """Send one request past the browser, and return headers and body of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    sent, headers = (None, {}) if body is None else (json.dumps(body), {"Content-Type": "application/json"})
    connection.request(method, path, sent, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    return {key.lower(): value for key, value in response.getheaders()}, text


def click(tab: Tab, name: str) -> None:
    """Press a button by its id."""
    tab.run(f"document.getElementById('{name}').click()")


def load(tab: Tab, count: int, rate: int) -> None:
    """Let the page send so many requests, so many a second."""
    tab.run(f"document.getElementById('count').value = {count}; document.getElementById('rate').value = {rate};")
    click(tab, "go")


def switch(name: str, rest: str = "") -> str:
    """Return the expression of the card of a leak, or of something in it."""
    return f"document.getElementById('leak-{name}').closest('li'){rest}"


def test_a_leak_turns_the_verdict_and_cleaning_up_turns_it_back(look: Opened) -> None:
    """Switched on and loaded it is a leak, in words and red; cleaned up it is none, green; the console stays empty."""
    tab = look()
    tab.run(switch("module-list", ".querySelector('[value=leaky]').click()"))
    load(tab, 300, 150)
    tab.until(f"{_SENTENCE}.startsWith('Leak, in Python. Memory: healthy, ')")
    leaking = [
        tab.run("document.getElementById('verdict').className"),
        tab.run("document.getElementById('pill').textContent").partition(" · ")[0],
        tab.run("document.getElementById('told').textContent"),
        tab.run("document.title"),
    ]
    grown = tab.run("document.getElementById('reason').textContent").partition(": +")[0]
    tab.until(f"{_SAID}.startsWith('Loaded: 300 requests in ')")
    tab.until(switch("module-list", ".querySelector('.held').textContent.startsWith('holds 300 after 300 visits')"))
    click(tab, "cleanup")
    tab.until(f"{_SAID}.startsWith('Cleaned up: 300 leaked things let go')")
    tab.until(f"{_SENTENCE}.startsWith('No leak. Memory: healthy, ')")

    assert grown in ("Memory blocks of the interpreter (blocks)", "Native heap in use (heap)")
    assert leaking == [
        "verdict leak",
        "Leak, in Python",
        "Leak, in Python. Memory: healthy.",
        "Leak, in Python · healthy · memguard demo",
    ]
    assert tab.run("document.getElementById('verdict').className") == "verdict ok"
    assert tab.run(switch("module-list", ".querySelector('.held').textContent")).startswith("holds 0 after")
    assert tab.complaints() == []


def test_the_repair_ends_without_a_leak(look: Opened) -> None:
    """The same load on the fixed form ends in no leak; while it is short, the guard may ask for more or suspect one."""
    tab = look()
    tab.run(switch("module-list", ".querySelector('[value=fixed]').click()"))
    load(tab, 300, 150)
    tab.until(f"{_SAID}.startsWith('Loaded: 300 requests in ')")
    tab.until(f"{_SENTENCE}.startsWith('No leak.') || {_SENTENCE}.startsWith('Load')")

    assert tab.run("document.querySelector('#verdict').className") != "verdict leak"


def test_pressure_is_shown_and_requests_are_turned_away(look: Opened) -> None:
    """Allocations raise the level to an emergency, in words and red; requests are turned away until it is over."""
    tab = look()
    for number in range(3):
        click(tab, "allocate")
        tab.until(f"{_SAID}.includes('; {32.0 * (number + 1)}.0 MiB are held')".replace(".0.0", ".0"))
    tab.until(f"{_SENTENCE}.endsWith('of 128.0 MiB. Requests are turned away.')")
    in_need = [
        tab.run("document.querySelector('#sentence b').textContent"),
        tab.run("document.getElementById('meter').getAttribute('aria-valuetext')").rpartition(" ")[2],
        tab.run("document.getElementById('verdict').className"),
    ]
    load(tab, 3, 100)
    tab.until(f"{_SAID}.includes('3 turned away (503)')")
    click(tab, "cleanup")
    tab.until(f"{_SENTENCE}.includes('Memory: healthy, ') && !{_SENTENCE}.includes('away')")

    assert in_need == ["emergency", "emergency", "verdict leak"]


def test_a_switch_is_turned_with_the_keyboard(look: Opened, port: int) -> None:
    """Arrow keys go through the three states of a group that is named by its leak and told by its reason."""
    tab = look()
    tab.run(switch("open-file", ".querySelector('[value=off]').focus()"))
    tab.key("ArrowRight")
    tab.until(f"{_SAID} === 'open-file is leaky.'")
    tab.key("ArrowRight")
    tab.until(f"{_SAID} === 'open-file is fixed.'")
    group = switch("open-file", ".querySelector('[role=radiogroup]')")
    named = f"['labelledby', 'describedby'].map(by => document.getElementById({group}.getAttribute('aria-' + by))"

    assert '"name": "open-file", "mode": "fixed"' in json.dumps(json.loads(ask(port, "GET", "/api/leaks")[1]))
    assert tab.run(f"{named}.textContent)") == [
        "open-file",
        "A file that is read to half, by a generator that nobody ends.",
    ]
    assert tab.run(switch("open-file", ".className")) == "fixed"
    assert tab.run(switch("open-file", ".querySelector('details').textContent")).endswith(
        "Repair: docs/how-to/fix-unclosed-file.md"
    )


def test_all_are_turned_at_once(look: Opened, port: int) -> None:
    """Two buttons turn every leak: to its fixed form, and off."""
    tab = look()
    modes = "[...new Set([...document.querySelectorAll('.leaks :checked')].map(one => one.value))].join()"
    click(tab, "all-fixed")
    tab.until(f"{_SAID}.endsWith('all are fixed.')")
    tab.until(f"{modes} === 'fixed'")
    click(tab, "all-off")
    tab.until(f"{_SAID}.endsWith('all are off.')")
    tab.until(f"{modes} === 'off'")

    assert {leak["mode"] for leak in json.loads(ask(port, "GET", "/api/leaks")[1])["leaks"]} == {"off"}


def test_a_snapshot_is_written(look: Opened, folder: Path) -> None:
    """The button writes a snapshot into the folder of snapshots, and its name and size are said."""
    tab = look()
    click(tab, "snapshot")
    tab.until(f"{_SAID}.startsWith('Snapshot snapshot-')")
    (path,) = (folder / "snapshots").glob("*.heapsnapshot")

    assert tab.run(_SAID).startswith(f"Snapshot {path.name} written, {amount(path.stat().st_size, Unit.BYTE)}.")
    assert tab.complaints() == []


def test_a_cache_is_cleared(look: Opened) -> None:
    """A cache shows its entries, and a button clears it."""
    tab = look()
    entries = "document.querySelector('#stores tr').cells[1].textContent"
    load(tab, 6, 100)
    tab.until(f"parseInt({entries}) > 0")
    tab.run("document.querySelector('[aria-label=\"Clear the cache items\"]').click()")
    tab.until(f"{_SAID}.startsWith('Cache items cleared: ')")
    tab.until(f"{entries} === '0 of 1000'")

    assert tab.run("document.querySelector('#log li').textContent").endswith(tab.run(_SAID))


def test_what_fails_is_said(look: Opened) -> None:
    """An action that the service refuses says why, in red, and the page goes on."""
    tab = look()
    tab.run('window.fetch = async () => new Response(\'{"error": "the disk is full"}\', {status: 409});0')
    click(tab, "snapshot")
    tab.until(f"{_SAID} === 'Snapshot did not work: the disk is full'")

    assert tab.run("document.getElementById('said').className") == "said wrong"


def test_routes_show_what_they_keep(look: Opened) -> None:
    """Each route that was measured has its costs: how many, how much a request, in all, and by size."""
    tab = look()
    load(tab, 60, 10)  # so few a second that some are alone
    name = "GET /api/items/{item}"
    row = f"[...document.querySelectorAll('#costs tr')].find(row => row.cells[0].textContent === {name!r})"
    tab.until(row)
    measured, mean, total = tab.run(f"[1, 2, 3].map(at => {row}.cells[at].textContent)")
    sizes = tab.run(f"{row}.querySelector('[role=img]').ariaLabel")

    assert int(measured) > 0
    assert all(text.rpartition(" ")[2] in ("B", "KiB", "MiB") for text in (mean, total))
    assert sum(int(part.split(" ")[0]) for part in sizes.split(", ")) == int(measured)


def test_charts_are_drawn_and_read_with_the_keyboard(look: Opened) -> None:
    """Four charts have lines; arrow keys say the value of a reading, and when it was taken."""
    tab = look()
    tab.until("document.querySelectorAll('.chart canvas').length === 4")
    painted = (
        "[...document.querySelectorAll('.chart canvas')].every(c => c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.some(value => value > 0))"
    )
    tab.run("document.querySelector('#chart-memory .plot').focus()")
    said = "document.querySelector('#chart-memory figcaption output').textContent"
    tab.key("End")
    now = tab.run(said)
    tab.key("ArrowLeft")
    before = tab.run(said)

    assert tab.run(painted) is True
    assert re.fullmatch(r"now: resident [0-9.]+ MiB(, native heap [0-9.]+ MiB)?", now)
    assert re.fullmatch(r"-[0-9.]+ s: resident [0-9.]+ MiB(, native heap [0-9.]+ MiB)?", before)


def test_it_comes_back_with_the_service(look: Opened, tmp_path: Path) -> None:
    """A page whose service ends says so, tries again, and is live when the service is there again."""
    with serving(tmp_path) as port:
        tab = look(port)
    tab.until(f"{_STATE} === 'state lost'")
    lost = tab.run("document.getElementById('state').textContent")
    with serving(tmp_path, port):
        tab.until(f"{_STATE} === 'state live'")

    assert lost == "no answer, trying again"


def test_only_words_are_read_aloud(look: Opened) -> None:
    """While numbers move with each message, what is read aloud stays still; it changes with the words."""
    tab = look()
    heard = (
        "new Promise(resolve => { const feed = new EventSource('/api/events'); "
        "feed.onmessage = ({data}) => { feed.close(); resolve(data); }; })"
    )
    message = json.loads(tab.run(heard))
    message["verdict"]["verdict"] = "leak_native"
    texts = []
    for usage, level in ((0.81, "warning"), (0.82, "warning"), (0.96, "emergency")):
        message["pressure"] = {"level": level, "usage": usage, "shedding": level == "emergency"}
        shown = f"memguard.render({json.dumps(message)}), [{_SENTENCE}, {_TOLD}]"
        texts.append(tab.run(shown))

    assert texts == [
        ["Leak, in native memory. Memory: warning, 81.0 % of 128.0 MiB.", "Leak, in native memory. Memory: warning."],
        ["Leak, in native memory. Memory: warning, 82.0 % of 128.0 MiB.", "Leak, in native memory. Memory: warning."],
        [
            "Leak, in native memory. Memory: emergency, 96.0 % of 128.0 MiB. Requests are turned away.",
            "Leak, in native memory. Memory: emergency. Requests are turned away.",
        ],
    ]
    assert tab.run("document.getElementById('told').getAttribute('aria-live')") == "polite"


def test_dark_light_and_still(look: Opened) -> None:
    """The page is as dark as the system, a button turns it round, and who wants no motion gets none."""
    light, dark = look(), look(scheme="dark")
    moves = "getComputedStyle(document.querySelector('.meter > i')).transitionDuration"
    button = "document.querySelector('.tool button')"
    colours = light.run(_BACKGROUND), dark.run(_BACKGROUND), light.run(f"{button}.textContent")
    light.run(f"{button}.click()")
    turned, moving = light.run(_BACKGROUND), light.run(moves)
    light.say("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])

    assert colours == ("rgb(255, 255, 255)", "rgb(15, 19, 24)", "Dark theme")
    assert turned == colours[1]
    assert (moving, light.run(moves)) == ("0.4s", "0s")


@pytest.mark.parametrize("width", [360, 820, 1200])
def test_it_fits(look: Opened, width: int) -> None:
    """Nothing is wider than the screen, what acts stays within reach, and a finger hits it."""
    tab = look()
    tab.say("Emulation.setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=1, mobile=False)
    tab.until(f"innerWidth === {width}")
    tab.run("document.getElementById('routes').scrollIntoView()")
    box = "document.getElementById('go').getBoundingClientRect()"
    sizes = tab.run(
        "[...document.querySelectorAll('button, .modes label')].map(one => one.getBoundingClientRect())"
        ".map(box => Math.min(box.width, box.height))"
    )

    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run(f"{box}.top >= 0 && {box}.bottom <= innerHeight && {box}.right <= innerWidth")
    assert min(sizes) >= 24


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(look: Opened, scheme: str) -> None:
    """
    Axe-core finds no serious fault.

    The variable AXE_CORE may name the file axe.min.js of a newer version, as .ci/run has it from npm.
    """
    named = os.environ.get("AXE_CORE")
    axe = Path(named) if named else resources.files("axe_core_python") / "axe.min.js"
    tab = look(scheme=scheme)
    tab.run(switch("closure", ".querySelector('[value=leaky]').click()"))
    tab.run(switch("timer", ".querySelector('[value=fixed]').click()"))
    tab.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.say("Runtime.evaluate", expression=axe.read_text(encoding="utf-8"))
    found = tab.run(
        "axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)]))"
    )

    assert [one for one in found if one[0] in ("serious", "critical")] == []


def test_numbers_are_written_as_everywhere(look: Opened) -> None:
    """Sizes, counts and times read as those of ``core.units``, to the last digit."""
    tab = look()
    values = [0, 1, 5, 999, 1023, 1024, 1280, 1331, 1536, 1792, 2**20 - 1, 2**20, 5 * 2**28, 2**40, 2**52, -1, -4200]
    parts = [0.5, 0.25, 0.04, 1.25, 2.75, 12.34, 0.00004, 1e-7, 196965.5, -0.3]
    spans = [0, 0.0001, 0.0123456, 0.5, 0.9994, 0.9995, 1.25, 2.75, 59.96, 119.9, 120, 3600, 86400.5, 3e-9]

    def written(name: str, given: list[float]) -> list[str]:
        texts: list[str] = tab.run(f"{json.dumps(given)}.map(memguard.{name})")
        return texts

    assert written("bytes", [*values, *parts]) == [amount(value, Unit.BYTE) for value in [*values, *parts]]
    assert written("count", [*values, *parts]) == [amount(value, Unit.COUNT) for value in [*values, *parts]]
    assert written("duration", spans) == [duration(value) for value in spans]


def test_it_runs_its_own_scripts_and_asks_its_own_service(look: Opened, port: int) -> None:
    """Scripts and styles are named by hash, no handler is written into the page, and no other place is asked."""
    headers, text = ask(port, "GET", "/")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    inside = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for _, part in inside]
    tab = look()
    tab.until("shown = document.querySelectorAll('.leaks li').length > 0")
    asked = tab.run("[...new Set(performance.getEntriesByType('resource').map(one => new URL(one.name).origin))]")

    assert {name: policy[name] for name in ("default-src", "connect-src", "frame-ancestors", "base-uri")} == {
        "default-src": "'none'", "connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'"
    }  # fmt: skip
    assert f"{policy['style-src']} {policy['script-src']}".split() == hashes
    assert re.findall(r"\s(?:on\w+|style|src)=", re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)) == []
    assert set(asked) <= {f"http://127.0.0.1:{port}"}
