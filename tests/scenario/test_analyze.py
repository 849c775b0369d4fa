"""Everything about one service in one go: footprint, soak, snapshots; and what is said where a part is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pytest_memguard import heap, store
from pytest_memguard.core.values import Level
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import footprint, kept, snapshots
from pytest_memguard.scenario.analyze import Analysis, analyze
from pytest_memguard.scenario.footprint import Footprint, Range
from pytest_memguard.scenario.spec import Scenario

pytest.importorskip("aiohttp", reason="load needs the extra [harness]")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need a POSIX system")

SHOP = """
import asyncio
import sys


class Order:
    def __init__(self):
        self.receipt = bytes(1024)


ORDERS = []
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"


async def serve(reader, writer):
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        ORDERS.append(Order())
        writer.write(ANSWER)
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
"""
SCENARIO = """
[service]
command = ["${MEMGUARD_PYTHON}", "shop.py", "${MEMGUARD_PORT}"]
ready_url = "http://127.0.0.1:${MEMGUARD_PORT}/"

[idle]
duration_s = 0

[warm_up]
duration_s = 0.3

[load]
routes = ["/"]
rate = 120
connections = 2
duration_s = 2.5
ramp_up_s = 0

[diagnose]
when = "off"

[cool_down]
duration_s = 0

[sampling]
interval_s = 0.05

[[step]]
route = "/"
times = 50
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Return a short scenario of a shop that keeps every order."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    (folder / "shop.toml").write_text(SCENARIO, encoding="utf-8")
    return Scenario.load(folder / "shop.toml")


@pytest.fixture(scope="module")
def analysis(scenario: Scenario) -> Analysis:
    """Return all that can be found out about it."""
    return analyze(scenario)


def test_soak_finds_the_leak(analysis: Analysis) -> None:
    """The verdict on the load is that of the whole."""
    (result,) = analysis.run.results

    assert result.verdict.level is Level.LEAK
    assert analysis.exit_code() == 1


def test_footprint_is_measured(analysis: Analysis) -> None:
    """Fifty orders of a KiB stay; the report has the step with its requests."""
    (step,) = analysis.footprint.steps

    assert 50 * 1024 <= step.after["kept"].median < 100 * 1024
    (name, cells), *others = analysis.run.settings["footprint"].items()
    assert (name, cells["requests"], others) == ("/", "50", [])
    assert cells["kept"].startswith("+")
    assert analysis.comparison is None


def test_snapshots_name_what_grew(analysis: Analysis) -> None:
    """An order a request, and where they hang; both files are there and are snapshots."""
    assert analysis.pair is not None
    shown = list(analysis.pair.lines())
    assert analysis.pair.requests == 300
    assert any(line.startswith("+300 (") and ".ORDERS" in line for line in shown[1:])
    assert f"heap snapshots: {shown[0]}" in analysis.run.results[0].notes
    assert heap.read(analysis.pair.after)
    assert sorted(path.name for path in analysis.pair.before.parent.iterdir()) == [
        "shop-after.heapsnapshot.gz", "shop-before.heapsnapshot.gz",
    ]  # fmt: skip


def test_nothing_is_left_running(analysis: Analysis, scenario: Scenario) -> None:
    """Of three services none is there afterwards."""
    folder = str(kept.folder_of(scenario))
    assert [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == folder] == []


@pytest.fixture
def clean(analysis: Analysis) -> Analysis:
    """Return the same of a service that did not leak under load."""
    from pytest_memguard.scenario.soak import Outcome

    return replace(analysis, soaked=replace(analysis.soaked, outcome=Outcome.CLEAN))


def grown(analysis: Analysis, rss_bytes: float) -> Analysis:
    """Return *analysis* compared with a footprint of so many bytes less."""
    now = analysis.footprint
    rss = now.steps[0].after["rss"].median - rss_bytes
    before: Footprint = replace(
        now, steps=(replace(now.steps[0], after={**now.steps[0].after, "rss": Range(rss, rss, rss)}),)
    )
    return replace(analysis, comparison=footprint.compare(before, now))


def test_worse_footprint_ends_with_one(clean: Analysis) -> None:
    """A service that does not leak and takes more than before fails; as much as before does not."""
    assert grown(clean, 0).exit_code() == 0
    assert grown(clean, 9 * 2**20).exit_code() == 1
    assert any(note.endswith("more rss than before") for note in grown(clean, 9 * 2**20).run.results[0].notes)


def test_saved_footprint_is_compared(scenario: Scenario, analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `memguard baseline --save` has kept is compared, in the same run."""
    from pytest_memguard.scenario import analyze as module

    place = kept.place_of(scenario, store.environment())
    kept.write(replace(analysis.footprint, hash="another"), place)
    monkeypatch.setattr(module, "soak", lambda *_, **__: analysis.soaked)
    monkeypatch.setattr(module.stages, "measure", lambda *_, **__: analysis.footprint)
    monkeypatch.setattr(module.snapshots, "take", _refuse)
    try:
        found = analyze(scenario)
    finally:
        place.unlink()

    assert found.comparison is not None
    assert found.comparison.refused.startswith("the scenario has changed since")
    assert found.without_pair == "no agent answers"
    assert found.run.results[0].notes[-1] == "no heap snapshots: no agent answers"


def _refuse(*_: object) -> None:
    raise CouldNotRun("no agent answers")


def test_snapshots_need_an_agent(scenario: Scenario, tmp_path: Path) -> None:
    """A service without an agent cannot be asked for one, and that is said."""
    blind = replace(scenario, services=(replace(scenario.service, agent=False),))
    with pytest.raises(CouldNotRun, match=r"^no snapshot could be taken: no agent answers in it"):
        snapshots.take(blind, tmp_path / "snapshots")
