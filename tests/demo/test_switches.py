"""The switches, the shop and the observation, without a server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from pytest_memguard.demo.leaks.containers import Sessions
from pytest_memguard.demo.shop import MOST_ROWS, Shop
from pytest_memguard.demo.switches import Mode, Switches

CASES = Path(__file__).parents[2] / "docs" / "explanation" / "case-studies.md"
PACKAGE = Path(__file__).parents[2] / "pytest_memguard" / "demo" / "leaks"


def test_switch_that_is_off_does_nothing() -> None:
    """A visit runs what is leaky or fixed, and nothing else."""
    switches = Switches({"module-list": Mode.LEAKY, "request-log": Mode.FIXED})
    asyncio.run(switches.visit("/api/items"))
    runs = {switch.name: (switch.runs, switch.held) for switch in switches.states() if switch.runs}
    asyncio.run(switches.release())

    assert runs == {"module-list": (1, 1), "request-log": (1, 0)}


def test_turning_keeps_what_is_held() -> None:
    """A switch that is turned off grows no more; only a clean-up releases."""
    switches = Switches({"closure": Mode.LEAKY})
    asyncio.run(switches.visit("/"))
    switches.turn("closure", Mode.OFF)
    asyncio.run(switches.visit("/"))

    assert switches.state("closure").held == 1
    assert asyncio.run(switches.release()) == 1
    assert switches.state("closure").held == 0


@pytest.mark.parametrize("name", ["open-file", "thread"])
def test_resources_have_a_bound(name: str) -> None:
    """Descriptors and threads end somewhere: a service without them could not be asked to clean up."""

    async def fill() -> tuple[int, int]:
        switches = Switches()
        held = await switches.leak(name, 500)
        return held, await switches.release()

    held, released = asyncio.run(fill())

    assert 300 < held < 500
    assert released == held


def test_unknown_switch_is_a_key_error() -> None:
    """Nothing is made up for a name that is no leak."""
    with pytest.raises(KeyError):
        Switches({"nothing": Mode.LEAKY})


def test_shop_keeps_its_newest_rows() -> None:
    """The shop itself does not leak: it holds as many rows as it may, the newest."""
    shop = Shop()
    user = shop.add_user("Ada")["id"]
    for number in range(MOST_ROWS + 50):
        newest = shop.add_item(f"tea {number}", number)["id"]
        shop.begin_session(user)

    assert (shop.item(newest - MOST_ROWS), shop.item(newest - MOST_ROWS + 1) is None) == (None, False)
    assert shop._database.execute("SELECT count(*) FROM sessions").fetchone()[0] == MOST_ROWS
    shop.close()


def test_session_ends_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repaired store drops a session once it is too old, and not a moment before."""
    from pytest_memguard.demo.leaks import Visit, containers

    now_s = [0.0]
    monkeypatch.setattr(containers.time, "monotonic", lambda: now_s[0])
    store = Sessions()
    for now_s[0], number in ((0.0, 1), (1800.0, 2), (1800.5, 3)):
        store.fixed(Visit.numbered(number))

    assert list(store.recent) == [2, 3]


def test_code_of_the_case_studies_is_that_of_the_demo() -> None:
    """What the page shows is what runs, word for word."""
    source = "".join(file.read_text(encoding="utf-8") for file in PACKAGE.glob("*.py"))
    lines = {line.strip() for line in source.splitlines()}
    blocks = re.findall(r"```python\n(.*?)```", CASES.read_text(encoding="utf-8"), re.DOTALL)

    assert len(blocks) == 4
    assert [line for block in blocks for line in block.splitlines() if line.strip() not in lines] == []
