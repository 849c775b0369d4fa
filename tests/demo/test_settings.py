"""The environment of the demo."""

from __future__ import annotations

import pytest

from pytest_memguard.demo.settings import DemoSettings
from pytest_memguard.errors import ConfigError

GUARD = {
    "HEAP_SNAPSHOT_DIR": ("snapshots", "snapshot_dir", "snapshots"),
    "MAX_HEAP_SIZE": ("512 MiB", "limit_bytes", 512 * 2**20),
    "GC_INTERVAL": ("90s", "gc_interval_s", 90.0),
    "MEMORY_WARNING_THRESHOLD": ("0.5", "warning", 0.5),
    "MEMORY_CRITICAL_THRESHOLD": ("85%", "critical", 0.85),
    "MEMORY_EMERGENCY_THRESHOLD": ("93", "emergency", 0.93),
    "MEMORY_MONITORING_INTERVAL": ("500ms", "interval_s", 0.5),
    "MEMORY_LEAK_DETECTION": ("false", "leak_detection", False),
    "PROACTIVE_GC_ENABLED": ("0", "proactive_gc", False),
    "CACHE_MAX_SIZE": ("250", "cache_size", 250),
    "CACHE_TTL": ("5min", "cache_ttl_s", 300.0),
}


@pytest.mark.parametrize("key", GUARD)
def test_each_variable_sets_its_field(key: str) -> None:
    """A variable of the environment reaches the field of the guard that it is about."""
    text, field, value = GUARD[key]

    assert getattr(DemoSettings.from_environment({key: text}).guard, field) == value


@pytest.mark.parametrize(
    ("key", "text", "names"),
    [
        ("PORT", "65536", "whole number from 0 to 65535"),
        ("PORT", "-1", "whole number from 0 to 65535"),
        ("PORT", "8000\n8001", "whole number from 0 to 65535"),
        ("MAX_HEAP_SIZE", "0", "no memory limit"),
        ("MAX_HEAP_SIZE", "536870912", "no memory limit"),
        ("MAX_HEAP_SIZE", "much", "no memory limit"),
        ("GC_INTERVAL", "0", "no time above zero"),
        ("GC_INTERVAL", "soon", "no time above zero"),
        ("MEMORY_WARNING_THRESHOLD", "101", "no threshold"),
        ("MEMORY_CRITICAL_THRESHOLD", "0", "no threshold"),
        ("MEMORY_EMERGENCY_THRESHOLD", "nan", "no threshold"),
        ("MEMORY_MONITORING_INTERVAL", "-5", "no time above zero"),
        ("MEMORY_LEAK_DETECTION", "maybe", "true or false"),
        ("PROACTIVE_GC_ENABLED", "2", "true or false"),
        ("CACHE_MAX_SIZE", "0", "whole number from 1"),
        ("CACHE_TTL", "1e3", "no time above zero"),
    ],
)
def test_wrong_value_is_refused(key: str, text: str, names: str) -> None:
    """The message names the variable, its value and what would be right."""
    with pytest.raises(ConfigError, match=names) as refused:
        DemoSettings.from_environment({key: text})

    assert str(refused.value).startswith(f"{key} = ")


def test_number_alone_is_mebibytes() -> None:
    """A size without a unit is read as other runtimes read theirs: in MiB."""
    assert DemoSettings.from_environment({"MAX_HEAP_SIZE": "256"}).guard.limit_bytes == 256 * 2**20


def test_port() -> None:
    """PORT is where the demo listens; 8000 where nothing is said."""
    assert DemoSettings.from_environment({"PORT": "9000"}).port == 9000
    assert DemoSettings.from_environment({}).port == 8000


def test_setting_of_the_guard_holds_beneath() -> None:
    """What MEMGUARD_* says holds, unless the demo's own variable says something else."""
    environ = {"MEMGUARD_INTERVAL_S": "7", "MEMGUARD_WINDOW": "33", "MEMORY_MONITORING_INTERVAL": "2"}
    guard = DemoSettings.from_environment(environ).guard

    assert (guard.interval_s, guard.window) == (2.0, 33)


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, 1.0),
        ({"MEMGUARD_INTERVAL_S": "7"}, 7.0),
        ({"MEMORY_MONITORING_INTERVAL": "3s", "MEMGUARD_INTERVAL_S": "7"}, 3.0),
    ],
)
def test_the_demo_is_read_each_second(environ: dict[str, str], interval_s: float) -> None:
    """A visitor wants to see the verdict turn, whatever the platform; the environment may say otherwise."""
    assert DemoSettings.from_environment(environ).guard.interval_s == interval_s
