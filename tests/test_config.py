from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.config import (
    FILE_KEYS,
    FLAG_KEYS,
    KEYS,
    Settings,
    check_paths,
    layer,
    nearest,
    output_path,
    read_pyproject,
    shown,
)
from pytest_memguard.errors import ConfigError
from pytest_memguard.plugin.options import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["pytester"]


def layered(**layers: object) -> Settings:
    """Merge only the layers that a test is about."""
    given: dict[str, Any] = {
        "pyproject": None,
        "pyproject_path": Path("pyproject.toml"),
        "ini": {},
        "ini_path": Path("pytest.ini"),
        "environ": {},
        "flags": {},
    }
    return layer(**{**given, **layers})


def refusal(make: Callable[[], object]) -> str:
    """Return the one line that a wrong setting is refused with."""
    with pytest.raises(ConfigError) as caught:
        make()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_nothing_set_gives_the_defaults() -> None:
    """Without any layer every setting has the default of the contract."""
    settings = layered()

    assert settings == Settings(
        check="marked",
        mode=None,
        fail_on="leak",
        confidence=95.0,
        policy="calibrated",
        max_runs=65,
        budget_s=30.0,
        json=None,
        html=None,
        save=None,
        baseline=None,
        explain="auto",
        ci="auto",
    )


def test_settings_are_frozen() -> None:
    """Nobody changes the settings of a running session."""
    settings = Settings()

    with pytest.raises(FrozenInstanceError):
        settings.mode = "deep"  # type: ignore[misc] # that is the point


def test_every_layer_is_stronger_than_the_one_before() -> None:
    """A value is taken from the strongest layer that gives it."""
    layers: dict[str, Any] = {
        "pyproject": {"mode": "quick"},
        "ini": {"memguard_mode": "standard"},
        "environ": {"MEMGUARD_MODE": "deep"},
        "flags": {"--memguard-mode": "native"},
    }

    modes = [layered(**dict(list(layers.items())[:count])).mode for count in range(1, 5)]

    assert modes == ["quick", "standard", "deep", "native"]


def test_a_layer_replaces_only_what_it_gives() -> None:
    """Settings of weaker layers stay where a stronger one is silent."""
    settings = layered(
        pyproject={"mode": "deep", "max_runs": 33},
        ini={"memguard_max_runs": "40", "memguard_policy": "any"},
        environ={"MEMGUARD_POLICY": "all", "MEMGUARD_SAVE": "nightly"},
        flags={"--memguard-budget": "2.5"},
    )

    assert settings == Settings(mode="deep", max_runs=40, policy="all", save="nightly", budget_s=2.5)


def test_a_flag_that_is_not_given_hides_nothing() -> None:
    """Options left out on the command line do not put a default over the ini file."""
    silent: dict[str, None] = dict.fromkeys(["--memguard", "--no-memguard", *FLAG_KEYS])

    settings = layered(ini={"memguard_check": "all", "memguard_mode": "deep"}, flags=silent)

    assert settings == Settings(check="all", mode="deep")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"--memguard": True}, "all"), ({"--no-memguard": True}, "off"), ({}, "marked")],
)
def test_the_switches_decide_which_tests_are_checked(flags: dict[str, bool], expected: str) -> None:
    """--memguard checks all tests, --no-memguard none, and neither the marked ones."""
    settings = layered(flags=flags)

    assert settings.check == expected


def test_the_switches_are_stronger_than_the_environment() -> None:
    """--no-memguard turns off what MEMGUARD_CHECK turned on."""
    settings = layered(environ={"MEMGUARD_CHECK": "all"}, flags={"--no-memguard": True})

    assert settings.check == "off"


def test_opposite_switches_are_refused() -> None:
    """--memguard and --no-memguard together are a mistake, not a choice."""
    text = refusal(lambda: layered(flags={"--memguard": True, "--no-memguard": True}))

    assert text == "command line: --memguard and --no-memguard contradict each other; give one of them"


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_environment_value_counts_as_not_set(empty: str) -> None:
    """MEMGUARD_MODE= leaves what weaker layers say."""
    settings = layered(ini={"memguard_mode": "deep"}, environ={"MEMGUARD_MODE": empty})

    assert settings.mode == "deep"


def test_blanks_around_an_environment_value_are_dropped() -> None:
    """A Windows "set MEMGUARD_MODE=deep && pytest" means deep, without the blank."""
    settings = layered(environ={"MEMGUARD_MODE": "deep ", "MEMGUARD_MAX_RUNS": " 9 "})

    assert (settings.mode, settings.max_runs) == ("deep", 9)


def test_foreign_environment_names_are_ignored() -> None:
    """Names that the service side reads are none of this layer's business."""
    settings = layered(environ={"MEMGUARD_TOKEN": "x", "MEMGUARD_MODUS": "y", "MODE": "z"})

    assert settings == Settings()


ACCEPTED = [
    ("check", "marked", "marked"),
    ("check", "all", "all"),
    ("check", "off", "off"),
    ("mode", "quick", "quick"),
    ("mode", "native", "native"),
    ("fail_on", "new", "new"),
    ("fail_on", "never", "never"),
    ("confidence", "0.001", 0.001),
    ("confidence", "100", 100.0),
    ("policy", "any", "any"),
    ("max_runs", "2", 2),
    ("max_runs", "100000", 100000),
    ("budget_s", "0.001", 0.001),
    ("budget_s", "3600", 3600.0),
    ("json", "out/memguard.json", "out/memguard.json"),
    ("html", "./report.html", "./report.html"),
    ("baseline", "main", "main"),
    ("baseline", "../base/memguard.json", "../base/memguard.json"),
    ("explain", "always", "always"),
    ("ci", "github", "github"),
]
REFUSED = [
    ("check", "true"),
    ("check", ""),
    ("mode", "Deep"),
    ("mode", "3"),
    ("fail_on", "leaks"),
    ("confidence", "0"),
    ("confidence", "-1"),
    ("confidence", "100.001"),
    ("confidence", "nan"),
    ("confidence", "inf"),
    ("confidence", "95%"),
    ("policy", "calibrate"),
    ("max_runs", "1"),
    ("max_runs", "0"),
    ("max_runs", "-65"),
    ("max_runs", "40.0"),
    ("max_runs", "many"),
    ("max_runs", "9" * 5000),
    ("budget_s", "0"),
    ("budget_s", "-0.5"),
    ("budget_s", "inf"),
    ("budget_s", "nan"),
    ("budget_s", "1e400"),
    ("budget_s", "30s"),
    ("json", ""),
    ("json", " "),
    ("json", "out/"),
    ("json", "a\0b"),
    ("html", ""),
    ("baseline", ""),
    ("explain", "on"),
    ("ci", "gitlab"),
]


@pytest.mark.parametrize(("key", "text", "expected"), ACCEPTED)
def test_text_of_an_ini_file_is_read(key: str, text: str, expected: object) -> None:
    """Values on the valid side of each edge arrive in their type."""
    settings = layered(ini={f"memguard_{key}": text})

    assert settings == replace(Settings(), **{key: expected})
    assert type(getattr(settings, key)) is type(expected)


@pytest.mark.parametrize(("key", "text"), REFUSED)
def test_wrong_text_of_an_ini_file_is_refused(key: str, text: str) -> None:
    """Values on the wrong side of each edge name the file and the key as the user wrote it."""
    message = refusal(lambda: layered(ini={f"memguard_{key}": text}))

    assert message.startswith(f"pytest.ini: memguard_{key} = ")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("confidence", 95, 95.0),
        ("confidence", 0.5, 0.5),
        ("confidence", 100, 100.0),
        ("max_runs", 2, 2),
        ("budget_s", 1, 1.0),
        ("budget_s", 0.25, 0.25),
        ("mode", "deep", "deep"),
        ("json", "memguard.json", "memguard.json"),
    ],
)
def test_a_toml_value_is_read(key: str, value: object, expected: object) -> None:
    """Values of [tool.memguard] come in TOML's own types."""
    settings = layered(pyproject={key: value})

    assert settings == replace(Settings(), **{key: expected})
    assert type(getattr(settings, key)) is type(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("check", True),
        ("check", ["all"]),
        ("mode", 3),
        ("confidence", True),
        ("confidence", "95"),
        ("confidence", math.nan),
        ("confidence", math.inf),
        ("confidence", 0),
        ("confidence", 100.5),
        ("confidence", [95]),
        ("max_runs", "many"),
        ("max_runs", "65"),
        ("max_runs", 65.0),
        ("max_runs", True),
        ("max_runs", 1),
        ("budget_s", False),
        ("budget_s", -1),
        ("budget_s", 10**400),
        ("budget_s", math.inf),
        ("json", True),
        ("json", {"path": "a"}),
        ("baseline", 7),
        ("policy", {}),
    ],
)
def test_a_toml_value_of_a_wrong_type_is_refused(key: str, value: object) -> None:
    """A string is no number, true is no number, nan is no confidence."""
    message = refusal(lambda: layered(pyproject={key: value}))

    assert message.startswith(f"pyproject.toml: tool.memguard.{key} = {shown(value)} is ")


def test_a_wrong_value_is_refused_even_where_a_stronger_layer_hides_it() -> None:
    """A typo in a file is found on the first run, not when the environment changes."""
    message = refusal(lambda: layered(ini={"memguard_mode": "fast"}, flags={"--memguard-mode": "deep"}))

    assert message == ("pytest.ini: memguard_mode = 'fast' is none of 'quick', 'standard', 'deep', 'native'")


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ({"pyproject": {"mode": "standart"}}, "pyproject.toml: tool.memguard.mode"),
        ({"ini": {"memguard_mode": "standart"}}, "pytest.ini: memguard_mode"),
        ({"ini": {"memguard_mode": "standart"}, "ini_path": Path("a/tox.ini")}, "tox.ini: memguard_mode"),
        ({"ini": {"memguard_mode": "standart"}, "ini_path": None}, "command line: memguard_mode"),
        ({"ini": {"memguard_mode": "standart"}, "overridden": ["memguard_mode"]}, "command line: memguard_mode"),
        ({"environ": {"MEMGUARD_MODE": "standart"}}, "environment: MEMGUARD_MODE"),
        ({"flags": {"--memguard-mode": "standart"}}, "command line: --memguard-mode"),
    ],
)
def test_a_refusal_names_place_key_value_and_the_nearest_valid_one(layers: dict[str, Any], place: str) -> None:
    """One line says where the value stands, under which key, what it is and what was probably meant."""
    message = refusal(lambda: layered(**layers))

    assert message == (
        f"{place} = 'standart' is none of 'quick', 'standard', 'deep', 'native'; did you mean 'standard'?"
    )


@pytest.mark.parametrize(
    ("key", "ending"),
    [
        ("confidense", "is not a setting; did you mean 'confidence'?"),
        ("budget", "is not a setting; did you mean 'budget_s'?"),
        ("fail-on", "is not a setting; did you mean 'fail_on'?"),
        ("memguard_mode", "is not a setting; did you mean 'mode'?"),
        ("zzz", f"is not a setting; write one of {', '.join(FILE_KEYS)}"),
        ("save", "belongs to one run; give --memguard-save=NAME or MEMGUARD_SAVE"),
    ],
)
def test_an_unknown_key_of_pyproject_is_refused(key: str, ending: str) -> None:
    """A key that is no setting names the nearest one, or all of them."""
    message = refusal(lambda: layered(pyproject={key: 1}))

    assert message == f"pyproject.toml: tool.memguard.{key} {ending}"


@pytest.mark.parametrize("name", ["main", "v1.2", "a", "release_2-rc", "größe", "with blank", "x" * 100])
def test_a_plain_name_can_be_saved(name: str) -> None:
    """A baseline is named by what can stand in a file name everywhere."""
    settings = layered(flags={"--memguard-save": name})

    assert settings.save == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "...", "a/b", "../a", "a\\b", "c:main", "a*", "a?", ".hidden", "a.", " a", "a\n", "x" * 101],
)
def test_what_is_no_plain_name_cannot_be_saved(name: str) -> None:
    """A name with path separators, an empty one and ".." are refused before anything runs."""
    message = refusal(lambda: layered(flags={"--memguard-save": name}))

    assert message.startswith("command line: --memguard-save = ")


@pytest.mark.parametrize("other", ["out.json", "./out.json", "a/../out.json"])
def test_one_file_for_both_outputs_is_refused(other: str) -> None:
    """The report must not overwrite the result document, however the path is written."""
    message = refusal(lambda: layered(environ={"MEMGUARD_JSON": "out.json"}, flags={"--memguard-html": other}))

    assert message == (
        f"command line: --memguard-html = {other!r} is the file of environment: MEMGUARD_JSON too; "
        "give each its own path"
    )


def test_two_files_for_two_outputs_are_fine() -> None:
    """Outputs with different paths stay as they were given."""
    settings = layered(flags={"--memguard-json": "a.json", "--memguard-html": "a.html"})

    assert (settings.json, settings.html) == ("a.json", "a.html")


def test_settings_remember_where_they_come_from() -> None:
    """The origin of a setting is what messages name; it plays no part in comparing."""
    settings = layered(ini={"memguard_mode": "deep"}, environ={"MEMGUARD_MODE": "quick"})

    assert settings.origin("mode") == "environment: MEMGUARD_MODE"
    assert settings.origin("json") == "json"
    assert settings == Settings(mode="quick")


def test_settings_can_stand_in_a_document() -> None:
    """as_dict holds every setting once, in types that JSON knows."""
    settings = layered(pyproject={"confidence": 90, "json": "./a.json"})

    assert json.loads(json.dumps(settings.as_dict())) == {
        "check": "marked",
        "mode": None,
        "fail_on": "leak",
        "confidence": 90.0,
        "policy": "calibrated",
        "max_runs": 65,
        "budget_s": 30.0,
        "json": "./a.json",
        "html": None,
        "save": None,
        "baseline": None,
        "explain": "auto",
        "ci": "auto",
    }


def test_every_field_is_a_key() -> None:
    """The fields of Settings and the keys that can be set are the same."""
    names = tuple(entry.name for entry in fields(Settings) if entry.compare)

    assert names == KEYS


def test_a_long_or_broken_value_is_shown_on_one_short_line() -> None:
    """Messages stay one line of bearable length, whatever was given."""
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == "'" + "x" * 56 + "..."
    assert shown(Path("a\nb")).count("\n") == 0


def test_no_name_is_near_to_nonsense() -> None:
    """Without a close name nothing is suggested."""
    assert nearest("zzz", KEYS) == ""
    assert nearest("MODE", KEYS) == "; did you mean 'mode'?"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[tool.memguard]\nmode = "deep"\nmax_runs = 9\n', {"mode": "deep", "max_runs": 9}),
        ("[tool.memguard]\n", {}),
        ("# memguard\n[tool.other]\n", None),
        ("# memguard\ntool = 1\n", None),
        ("[tool.other]\n", None),
        ("", None),
        ("this is [not TOML", None),
    ],
)
def test_the_table_of_pyproject_is_read(tmp_path: Path, content: str, expected: object) -> None:
    """No table gives None, and a file without the word is not even parsed."""
    path = tmp_path / "pyproject.toml"
    path.write_text(content)

    table = read_pyproject(path)

    assert table == expected


def test_no_pyproject_is_no_table(tmp_path: Path) -> None:
    """Neither a missing file nor a folder of that name is an error."""
    assert read_pyproject(tmp_path / "pyproject.toml") is None
    assert read_pyproject(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"[tool.memguard]\nmode = deep\n", "line 2"),
        (b"[tool.memguard\n", "line 1"),
        (b"[tool.memguard]\n\nmode = 'a'\nmode = 'b'\n", "line 4"),
        (b"[tool.memguard]\nmode = '\xff'\n", "position"),
        (b"[tool.memguard]\nmax_runs = " + b"9" * 5000 + b"\n", "4300"),
    ],
)
def test_a_broken_pyproject_is_refused_with_its_line(tmp_path: Path, content: bytes, part: str) -> None:
    """What the TOML parser found wrong, and where, is passed on."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)

    message = refusal(lambda: read_pyproject(path))

    assert message.startswith("pyproject.toml: not valid TOML: ")
    assert part in message


@pytest.mark.parametrize("content", ["[tool]\nmemguard = 3\n", "[[tool.memguard]]\nmode = 'deep'\n"])
def test_a_setting_in_place_of_the_table_is_refused(tmp_path: Path, content: str) -> None:
    """tool.memguard must be a table."""
    path = tmp_path / "pyproject.toml"
    path.write_text(content)

    message = refusal(lambda: read_pyproject(path))

    assert message.startswith("pyproject.toml: tool.memguard = ")
    assert message.endswith(" is not a table; write [tool.memguard]")


def test_a_pyproject_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that exists and is closed to us is named, with the system's reason."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    message = refusal(lambda: read_pyproject(tmp_path / "pyproject.toml"))

    assert message == "pyproject.toml: cannot be read (Permission denied)"


def test_relative_outputs_start_at_the_invocation_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute paths stay, relative ones are joined, and ~ is the home folder."""
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", os.fspath(tmp_path / "home"))

    assert output_path("a.json", tmp_path) == tmp_path / "a.json"
    assert output_path(os.fspath(tmp_path / "b.json"), Path("elsewhere")) == tmp_path / "b.json"
    assert output_path("~/c.json", tmp_path) == tmp_path / "home" / "c.json"


@pytest.mark.parametrize("given", ["new.json", "old.json", "folder/new.json", "folder/../new.json"])
def test_a_path_that_can_be_written_is_accepted(tmp_path: Path, given: str) -> None:
    """New and existing files in existing folders pass."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.json").write_text("{}")

    check_paths(layered(flags={"--memguard-json": given}), tmp_path)

    assert not (tmp_path / "new.json").exists()


def test_no_output_needs_no_path(tmp_path: Path) -> None:
    """Settings without outputs pass, even where the directory is gone."""
    check_paths(Settings(), tmp_path / "gone")


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("folder", "is a folder; write the path of a file in it"),
        ("missing/a.json", "cannot be written: there is no folder '{}'; create it first"),
        ("old.json/a.json", "cannot be written: there is no folder '{}'; create it first"),
    ],
)
@pytest.mark.parametrize("option", ["--memguard-json", "--memguard-html"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, option: str, given: str, wrong: str) -> None:
    """A folder, a missing folder and a file in a file's place are found before the first test."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.json").write_text("{}")

    message = refusal(lambda: check_paths(layered(flags={option: given}), tmp_path))

    assert message == f"command line: {option} = {given!r} " + wrong.format((tmp_path / given).parent)


@pytest.mark.parametrize(
    ("closed", "wrong"),
    [
        ("folder", "cannot be written: the folder '{}' is not writable; choose another"),
        ("folder/a.json", "is a file that is not writable; choose another path"),
    ],
)
def test_a_path_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, wrong: str
) -> None:
    """Folder and file must be writable; asked of the system, because tests may run as root."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / closed)

    message = refusal(lambda: check_paths(layered(flags={"--memguard-json": "folder/a.json"}), tmp_path))

    assert message == "command line: --memguard-json = 'folder/a.json' " + wrong.format(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_path_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Pipes and devices are not replaced by a document."""
    os.mkfifo(tmp_path / "pipe")

    message = refusal(lambda: check_paths(layered(flags={"--memguard-json": "pipe"}), tmp_path))

    assert message == "command line: --memguard-json = 'pipe' is not a regular file; choose another path"


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    """A relative and an absolute path to one file are one file."""
    flags = {"--memguard-json": "a.json", "--memguard-html": os.fspath(tmp_path / "a.json")}

    message = refusal(lambda: check_paths(layered(flags=flags), tmp_path))

    assert message.startswith("command line: --memguard-html = ")
    assert message.endswith(" is the file of command line: --memguard-json too; give each its own path")


# What pytest makes of it: the options module stands in a plugin of its own, so that these tests do not depend on hooks.


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return an empty project in which pytest knows the options and the environment sets nothing."""
    for key in KEYS:
        monkeypatch.delenv(f"MEMGUARD_{key.upper()}", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(
        only_options="""
        from pytest_memguard.plugin.options import add_options as pytest_addoption
    """
    )
    pytester.syspathinsert()
    return pytester


def configured(project: pytest.Pytester, *args: str) -> Settings:
    """Return the settings that pytest started with *args* arrives at."""
    return read_settings(project.parseconfig("-p", "no:memguard", "-p", "only_options", *args))


def test_a_session_without_any_setting_has_the_defaults(project: pytest.Pytester) -> None:
    """Neither the options' nor the ini keys' defaults count as set."""
    settings = configured(project)

    assert settings == Settings()
    assert settings.origins == ()


def test_every_option_reaches_its_setting(project: pytest.Pytester) -> None:
    """Each option of the contract sets what it names."""
    settings = configured(
        project,
        "--memguard",
        "--memguard-mode=deep",
        "--memguard-fail-on=new",
        "--memguard-confidence=90",
        "--memguard-policy=all",
        "--memguard-max-runs=33",
        "--memguard-budget=2",
        "--memguard-json=a.json",
        "--memguard-html=a.html",
        "--memguard-save=mine",
        "--memguard-baseline=main",
        "--memguard-explain=always",
        "--memguard-ci=off",
    )

    assert settings == Settings(
        check="all",
        mode="deep",
        fail_on="new",
        confidence=90.0,
        policy="all",
        max_runs=33,
        budget_s=2.0,
        json="a.json",
        html="a.html",
        save="mine",
        baseline="main",
        explain="always",
        ci="off",
    )
    assert {where for _, where in settings.origins} == {
        "command line: --memguard",
        *(f"command line: {option}" for option in FLAG_KEYS),
    }


def test_every_ini_key_reaches_its_setting(project: pytest.Pytester) -> None:
    """Each key of the contract can stand in pytest's own file, under strict configuration."""
    values = {
        "check": "all", "mode": "deep", "fail_on": "new", "confidence": "90", "policy": "all", "max_runs": "33",
        "budget_s": "2", "json": "a.json", "html": "a.html", "baseline": "main", "explain": "off",
        "ci": "off",
    }  # fmt: skip
    project.makeini("[pytest]\n" + "\n".join(f"memguard_{key} = {value}" for key, value in values.items()))

    settings = configured(project, "--strict-config")

    assert dict(settings.origins) == {key: f"tox.ini: memguard_{key}" for key in FILE_KEYS}
    assert {key: str(value) for key, value in settings.as_dict().items() if value is not None} == {
        **values,
        "confidence": "90.0",
        "budget_s": "2.0",
    }


def test_pyproject_is_read_beside_another_ini_file(project: pytest.Pytester) -> None:
    """[tool.memguard] counts even where pytest takes its own options from pytest.ini, which is stronger."""
    project.makepyprojecttoml('[tool.memguard]\nmode = "deep"\npolicy = "any"\n')
    project.makefile(".ini", pytest="[pytest]\nmemguard_mode = quick\n")

    settings = configured(project)

    assert settings == Settings(mode="quick", policy="any")
    assert settings.origin("policy") == "pyproject.toml: tool.memguard.policy"
    assert settings.origin("mode") == "pytest.ini: memguard_mode"


def test_both_tables_of_pyproject_are_read(project: pytest.Pytester) -> None:
    """The table of pytest in pyproject.toml is stronger than [tool.memguard] beside it, and takes bare numbers."""
    project.makepyprojecttoml("""
        [tool.memguard]
        max_runs = 9
        mode = "deep"
        [tool.pytest.ini_options]
        memguard_max_runs = 17
    """)

    settings = configured(project)

    assert settings == Settings(max_runs=17, mode="deep")


def test_a_pyproject_named_by_option_is_read(project: pytest.Pytester) -> None:
    """-c names the pyproject.toml whose [tool.memguard] counts."""
    folder = project.mkdir("settings")
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n[tool.memguard]\nmode = 'deep'\n")

    settings = configured(project, "-c", "settings/pyproject.toml", "--rootdir=.")

    assert settings.mode == "deep"


def test_the_environment_lies_between_file_and_option(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MEMGUARD_MODE beats the ini file and yields to the option."""
    project.makeini("[pytest]\nmemguard_mode = quick\n")
    monkeypatch.setenv("MEMGUARD_MODE", "standard")

    assert configured(project).mode == "standard"
    assert configured(project, "--memguard-mode=deep").mode == "deep"


def test_an_ini_override_is_named_as_such(project: pytest.Pytester) -> None:
    """A wrong -o value is not blamed on the file."""
    project.makeini("[pytest]\nmemguard_mode = quick\n")

    message = refusal(lambda: configured(project, "-o", "memguard_mode=fast"))

    assert message.startswith("command line: memguard_mode = 'fast' is none of ")


def test_an_empty_ini_value_is_set_and_wrong(project: pytest.Pytester) -> None:
    """memguard_mode without a value is a mistake, not the default."""
    project.makeini("[pytest]\nmemguard_mode =\n")

    message = refusal(lambda: configured(project))

    assert message.startswith("tox.ini: memguard_mode = '' is none of ")


def test_a_typed_switch_wins_over_addopts(project: pytest.Pytester) -> None:
    """A project that always checks can be run once without, and the other way round."""
    project.makeini("[pytest]\naddopts = --memguard\n")
    once_without = configured(project, "--no-memguard")
    project.makeini("[pytest]\naddopts = --no-memguard\n")
    once_with = configured(project, "--memguard")

    assert (once_without.check, once_with.check) == ("off", "all")


def test_opposite_switches_of_one_place_are_refused(project: pytest.Pytester) -> None:
    """Both typed, or both in addopts, contradict each other."""
    typed = refusal(lambda: configured(project, "--memguard", "--no-memguard"))
    project.makeini("[pytest]\naddopts = --memguard --no-memguard\n")
    added = refusal(lambda: configured(project))

    assert typed == added == "command line: --memguard and --no-memguard contradict each other; give one of them"


def test_output_paths_are_checked_from_the_invocation_directory(project: pytest.Pytester) -> None:
    """A folder that is missing is found at the start."""
    message = refusal(lambda: configured(project, "--memguard-json=missing/a.json"))

    assert message.startswith("command line: --memguard-json = 'missing/a.json' cannot be written: there is no folder ")


def test_a_worker_checks_no_paths(project: pytest.Pytester) -> None:
    """An xdist worker writes no file, so that a folder missing on its machine does not matter."""
    config = project.parseconfig("-p", "no:memguard", "-p", "only_options", "--memguard-json=missing/a.json")
    config.workerinput = {}  # type: ignore[attr-defined] # what xdist sets on its workers

    settings = read_settings(config)

    assert settings.json == "missing/a.json"


def test_native_toml_of_pytest_asks_for_text(project: pytest.Pytester) -> None:
    """Where pytest itself keeps TOML types, a bare number is refused in one line."""
    project.makepyprojecttoml('[tool.pytest]\nminversion = "8.2"\nmemguard_max_runs = 9\n')
    config = project.parseconfig("-p", "no:memguard", "-p", "only_options")
    if int(pytest.__version__.split(".")[0]) < 9:
        assert read_settings(config) == Settings()
        return

    message = refusal(lambda: read_settings(config))

    assert message == "pyproject.toml: memguard_max_runs is not text; write its value in quotes"


def test_the_help_shows_every_option_and_key(project: pytest.Pytester) -> None:
    """Asked for help, pytest lists what the contract promises, without a warning."""
    quiet = ("-W", "error", "-p", "no:asyncio")  # pytest-asyncio warns in a project without its setting
    result = project.runpytest_subprocess(*quiet, "-p", "no:memguard", "-p", "only_options", "--help")
    text = result.stdout.str()

    assert result.ret == 0
    assert [option for option in ("--memguard ", "--no-memguard", *FLAG_KEYS) if option not in text] == []
    assert [key for key in FILE_KEYS if f"memguard_{key} " not in text] == []


def test_the_settings_reach_the_workers(project: pytest.Pytester) -> None:
    """Under xdist every worker arrives at the settings of the session."""
    project.makepyfile(
        test_it="""
        from pytest_memguard.plugin.options import read_settings

        def test_settings(request):
            settings = read_settings(request.config)

            assert (settings.check, settings.mode, settings.policy) == ("off", "deep", "any")
    """
    )
    project.makeini("[pytest]\naddopts = --memguard -p no:memguard -p only_options\nmemguard_policy = any\n")

    result = project.runpytest_subprocess("-n", "1", "--no-memguard", "--memguard-mode=deep")

    result.assert_outcomes(passed=1)


def test_the_options_import_nothing_heavy() -> None:
    """A session that checks nothing pays for the option table alone."""
    path = Path(__file__).parents[1] / "pytest_memguard" / "plugin" / "options.py"
    program = (
        f"import runpy, sys; runpy.run_path({os.fspath(path)!r}); "
        "print({'difflib', 'tomllib', 'tomli', 'pytest_memguard.config', 'psutil', 'jinja2'} & set(sys.modules))"
    )

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == ("set()", "")


def test_scenarios_are_no_settings_of_a_session() -> None:
    """What ``memguard soak`` reads below the same table is left to it."""
    settings = layered(pyproject={"mode": "deep", "scenario": {"shop": {"service": {"command": "serve"}}}})

    assert settings.mode == "deep"
