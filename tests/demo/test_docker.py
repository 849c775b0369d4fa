"""The files for containers, held against what they start: the same commands, without containers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memguard.demo.settings import DemoSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.demo.conftest import Demo

    Serve = Callable[..., AbstractContextManager[Demo]]

DOCKER = Path(__file__).parents[2] / "docs" / "docker"

pytestmark = pytest.mark.skipif(not DOCKER.exists(), reason="the source distribution has no container files")


def _command(text: str, word: str) -> list[str]:
    """Return the command behind the last *word* of a Dockerfile."""
    command: list[str] = json.loads(re.findall(rf"^\s*{word} (\[.*\])$", text, re.MULTILINE)[-1])
    return command


def test_command_serves_and_its_health_check_passes(serve: Serve, tmp_path: Path) -> None:
    """The arguments of CMD start the demo, and the command of HEALTHCHECK finds it well, or fails without it."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    check, command = _command(text.partition("HEALTHCHECK")[2].partition("\nCMD")[0], "CMD"), _command(text, "CMD")

    assert command[:2] == ["memguard", "serve"]
    with serve(tmp_path, *command[2:]) as demo:
        assert _code(check, demo.port) == 0
    assert _code(check, demo.port) == 1


def _code(check: list[str], port: int) -> int:
    assert check[0] == "python"
    environ = {**os.environ, "PORT": str(port)}
    return subprocess.run([sys.executable, *check[1:]], env=environ, capture_output=True, check=False).returncode


def test_variables_are_settings_of_the_demo() -> None:
    """Every variable of the compose file is one that the demo reads, with a value that it takes."""
    text = (DOCKER / "docker-compose.yml").read_text(encoding="utf-8")
    environ = dict(re.findall(r'^      ((?:MEMORY|CACHE|GC|MAX)_\w+): "?([^"\n]+)"?$', text, re.MULTILINE))
    guard = DemoSettings.from_environment(environ).guard

    assert len(environ) == 6
    assert (guard.warning, guard.critical, guard.emergency) == (0.7, 0.8, 0.9)
    assert (guard.interval_s, guard.cache_size, guard.cache_ttl_s) == (1.0, 1000, 1800.0)


def test_files_that_are_named_are_there() -> None:
    """What the files copy, build from and mount exists."""
    compose = (DOCKER / "docker-compose.yml").read_text(encoding="utf-8")
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    mounted = re.findall(r"^      - (\.\.?/[^:]+):", compose, re.MULTILINE)
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()]
    root = DOCKER / re.findall(r"context: (.*)", compose)[0]

    assert len(mounted) == 2
    assert [name for name in mounted if not (DOCKER / name).is_file()] == []
    assert [name for name in copied if not (root / name).exists()] == []
    assert (root / re.findall(r"dockerfile: (.*)", compose)[0]).samefile(DOCKER / "Dockerfile")


def test_page_names_every_variable() -> None:
    """The table of the page has the variables that the demo reads, and no others."""
    table = (DOCKER / "README.md").read_text(encoding="utf-8").partition("| variable |")[2]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}

    assert named == {
        "PORT", "HEAP_SNAPSHOT_DIR", "MAX_HEAP_SIZE", "GC_INTERVAL", "MEMORY_WARNING_THRESHOLD",
        "MEMORY_CRITICAL_THRESHOLD", "MEMORY_EMERGENCY_THRESHOLD", "MEMORY_MONITORING_INTERVAL",
        "MEMORY_LEAK_DETECTION", "PROACTIVE_GC_ENABLED", "CACHE_MAX_SIZE", "CACHE_TTL",
    }  # fmt: skip
