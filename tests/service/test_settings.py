"""The settings of a guard: presets, the environment, the code, and what is refused."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service import settings as settings_module
from pytest_memguard.service.limits import MemoryLimit
from pytest_memguard.service.settings import KEYS, PRESETS, GuardSettings, platform_of

MIB = 2**20
HOST = MemoryLimit(16 * 2**30, "host")
TOKEN = "0123456789abcdef"  # noqa: S105 - opens nothing


@pytest.fixture(autouse=True)
def _a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be a machine without limits and without a terminal."""
    monkeypatch.setattr(settings_module, "memory_limit", lambda environ: HOST)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)


# Presets


@pytest.mark.parametrize(
    ("platform", "thresholds", "interval_s"),
    [
        ("render", (0.60, 0.75, 0.90), 15.0),
        ("local", (0.80, 0.90, 0.95), 30.0),
        ("container", (0.75, 0.85, 0.95), 5.0),
        ("default", (0.80, 0.90, 0.95), 5.0),
    ],
)
def test_presets(platform: str, thresholds: tuple[float, ...], interval_s: float) -> None:
    """Each platform has thresholds and an interval."""
    settings = GuardSettings.from_environment({"MEMGUARD_PLATFORM": platform})

    assert settings.platform == platform
    assert settings.thresholds == thresholds
    assert settings.interval_s == interval_s
    assert settings.window == 60


@pytest.mark.parametrize(
    ("environ", "limit", "tty", "platform"),
    [
        ({"RENDER": "true"}, MemoryLimit(MIB, "cgroup v2", Path("x")), True, "render"),
        ({}, MemoryLimit(MIB, "cgroup v2", Path("x")), True, "container"),
        ({}, MemoryLimit(MIB, "MEMORY_LIMIT"), False, "default"),
        ({}, HOST, True, "local"),
        ({}, HOST, False, "default"),
    ],
)
def test_the_platform_is_found(environ: Mapping[str, str], limit: MemoryLimit, *, tty: bool, platform: str) -> None:
    """Render says so, a container has a limit of its control group, a terminal means somebody's own machine."""
    assert platform_of(environ, limit=lambda _: limit, tty=lambda: tty) == platform


def test_a_process_without_stderr_has_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon or a window program may have none at all."""
    monkeypatch.setattr(sys, "stderr", None)

    assert platform_of({}, limit=lambda _: HOST) == "default"


def test_the_limit_of_a_preset_stands_where_nothing_else_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render's smallest service has 512 MiB; a limit that is found, or given, is better."""
    render = GuardSettings.from_environment({"RENDER": "1"})
    found = MemoryLimit(2**30, "cgroup v2", Path("x"))

    assert render.limit({}) == MemoryLimit(512 * MIB, "preset render")
    assert GuardSettings().limit({}) == HOST
    assert GuardSettings(limit_bytes=MIB).limit({}) == MemoryLimit(MIB, "setting")
    monkeypatch.setattr(settings_module, "memory_limit", lambda environ: found)
    assert render.limit({}) == found


# Layers


def test_the_environment_is_stronger_than_the_preset() -> None:
    """Every variable is read as its setting's type."""
    settings = GuardSettings.from_environment(
        {
            "MEMGUARD_PLATFORM": "render",
            "MEMGUARD_WARNING": "50%",
            "MEMGUARD_EMERGENCY": "0.8",
            "MEMGUARD_INTERVAL_S": "2.5",
            "MEMGUARD_WINDOW": "10",
            "MEMGUARD_LIMIT_BYTES": "256 MiB",
            "MEMGUARD_PROACTIVE_GC": "off",
            "MEMGUARD_EXPOSE_HEADERS": "1",
            "MEMGUARD_UNLOAD": "big.module, other",
            "MEMGUARD_TOKEN": TOKEN,
            "MEMGUARD_ALLOWED_PEERS": "10.0.0.0/8,::1",
            "MEMGUARD_RETRY_AFTER_S": " ",
        }
    )

    assert settings == GuardSettings(
        platform="render", warning=0.5, critical=0.75, emergency=0.8, interval_s=2.5, window=10, limit_bytes=256 * MIB,
        proactive_gc=False, expose_headers=True, unload=("big.module", "other"), token=TOKEN,
        allowed_peers=("10.0.0.0/8", "::1"),
    )  # fmt: skip


def test_the_code_is_stronger_than_the_environment() -> None:
    """What is given by name wins."""
    settings = GuardSettings.from_environment({"MEMGUARD_WINDOW": "10"}, window=20, snapshot_dir=Path("here"))

    assert settings.window == 20
    assert settings.snapshot_dir == "here"


def test_every_field_is_a_key() -> None:
    """No setting is without a variable and a check."""
    assert tuple(field.name for field in dataclasses.fields(GuardSettings)) == KEYS


def test_presets_are_valid() -> None:
    """Each preset makes settings by itself."""
    for platform in PRESETS:
        assert GuardSettings.from_environment({}, platform=platform).platform == platform


# What is refused

WRONG: list[tuple[str, list[object]]] = [
    ("platform", ["heroku", "Render", 1]),
    ("warning", ["75", "1.01", "-0.1", "nan", "much", True, None]),
    ("hysteresis", ["2"]),
    ("interval_s", ["0", "-1", "inf", "nan", "5 s", True]),
    ("window", ["0", "1.5", "100001", True, 2.5]),
    ("limit_bytes", ["0", "-5", "lots", 0]),
    ("proactive_gc", ["maybe", 2]),
    ("unload", [5, [1]]),
    ("allowed_peers", ["somewhere", "10.0.0.1/8"]),
    ("token", ["short", "0123456789abcde", 5, "0123456789abcdeé", "0123456789abcde\n"]),
    ("cache_size", ["0"]),
    ("cache_ttl_s", ["0"]),
    ("snapshot_dir", ["", "a\0b", 5]),
]


@pytest.mark.parametrize(
    ("key", "value"), [pytest.param(key, value, id=f"{key}={value!r}") for key, values in WRONG for value in values]
)
@pytest.mark.parametrize("make", [GuardSettings, lambda **given: GuardSettings.from_environment({}, **given)])
def test_a_wrong_value_is_refused(make: Callable[..., GuardSettings], key: str, value: object) -> None:
    """The message is one line that names the key and what would be right."""
    with pytest.raises(ConfigError) as caught:
        make(**{key: value})

    assert str(caught.value).startswith(f"guard: {key} = ")
    assert "\n" not in str(caught.value)


def test_the_message_names_the_variable() -> None:
    """The whole text of one message."""
    with pytest.raises(ConfigError) as caught:
        GuardSettings.from_environment({"MEMGUARD_WARNING": "75"}, warning=0.7)

    assert str(caught.value) == (
        "environment: MEMGUARD_WARNING = '75' is not a share of the limit; write 0.75 or '75%'"
    )


def test_a_token_is_not_shown() -> None:
    """Not even one that is refused: it may be right but for a letter."""
    with pytest.raises(ConfigError) as caught:
        GuardSettings(token="secret-letters")  # noqa: S106 - opens nothing

    assert "secret-letters" not in str(caught.value)
    assert TOKEN not in repr(GuardSettings(token=TOKEN))


def test_a_token_of_sixteen_bytes_will_do() -> None:
    """The shortest token."""
    assert GuardSettings(token=TOKEN).token == TOKEN


def test_thresholds_must_rise() -> None:
    """Also where one of them comes from the environment and the others from the preset."""
    with pytest.raises(ConfigError, match=r"warning = 0\.92, critical = 0\.9, emergency = 0\.95 do not rise"):
        GuardSettings.from_environment({"MEMGUARD_WARNING": "0.92"})
    with pytest.raises(ConfigError, match="do not rise"):
        GuardSettings(warning=0.9)


def test_an_unknown_setting_is_refused() -> None:
    """The nearest name is shown."""
    with pytest.raises(ConfigError, match=r"guard: warnig is not a setting; did you mean 'warning'\?"):
        GuardSettings.from_environment({}, warnig=0.5)
    with pytest.raises(ConfigError, match="guard: zzz is not a setting; write one of platform, warning"):
        GuardSettings.from_environment({}, zzz=0.5)
