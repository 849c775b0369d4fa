"""
A soak whose load is sent by Locust, a master and two workers: the verdict is that of the built-in engine.

Needs an interpreter that has Locust, in MEMGUARD_TEST_LOCUST; ``.ci/locust`` makes one.
"""

from __future__ import annotations

import os

import pytest

from pytest_memguard.core.values import BLOCKS, Level
from pytest_memguard.scenario.soak import SoakResult, soak
from pytest_memguard.scenario.spec import Scenario

LOCUST = os.environ.get("MEMGUARD_TEST_LOCUST", "")
SERVE = "import sys; from pytest_memguard.cli import main; sys.exit(main(['serve', *sys.argv[1:]]))"

pytestmark = pytest.mark.skipif(not LOCUST, reason="MEMGUARD_TEST_LOCUST names no interpreter with Locust: .ci/locust")


def soaked(mode: str, engine: dict[str, object]) -> SoakResult:
    """Soak the demo with one leak."""
    return soak(
        Scenario.from_mapping(
            {
                "service": {
                    "command": [
                        "${MEMGUARD_PYTHON}",
                        "-c",
                        SERVE,
                        "--port",
                        "${MEMGUARD_PORT}",
                        mode,
                        "event-listener",
                    ],
                    "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/health",
                },
                "warm_up": {"duration_s": 4},
                "load": {"rate": 150, "connections": 4, "duration_s": 15, "routes": ["/api/items"], **engine},
            },
            "locust",
        )
    )


@pytest.mark.parametrize(("mode", "level"), [("--leak", Level.LEAK), ("--fixed", Level.CLEAN)])
def test_the_verdict_is_that_of_the_built_in_engine(mode: str, level: Level) -> None:
    """Both call the leaky form a leak of the same size, and the repaired one clean."""
    by_locust = soaked(mode, {"engine": "locust", "locust": LOCUST, "workers": 2}).run.results[0]
    built_in = soaked(mode, {}).run.results[0]

    assert (by_locust.verdict.level, built_in.verdict.level) == (level, level)
    if level is Level.LEAK:
        rates = [
            finding.trend.slope.point
            for result in (by_locust, built_in)
            for finding in result.findings
            if finding.metric == BLOCKS
        ]
        assert rates[0] == pytest.approx(rates[1], rel=0.1)
