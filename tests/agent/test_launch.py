"""An interpreter that starts with the agent inside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memguard.agent import folders, launch
from pytest_memguard.agent.client import Client

if TYPE_CHECKING:
    from tests.agent.conftest import Started


def run_python(program: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run *program* to its end, in an environment of its own."""
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def test_the_variables() -> None:
    """What is added, and the path that was there before stays behind ours."""
    added = launch.environment("/f", "t", {"PYTHONPATH": "/mine", "HOME": "/h"})
    boot, _, before = added.pop("PYTHONPATH").partition(os.pathsep)

    assert added == {"MEMGUARD_AGENT_FOLDER": "/f", "MEMGUARD_AGENT_TOKEN": "t"}
    assert Path(boot, "sitecustomize.py").is_file()
    assert before == "/mine"
    assert launch.environment("/f", "t", {}, owner=7)["MEMGUARD_AGENT_OWNER"] == "7"


def test_the_sitecustomize_that_is_shadowed_runs(tmp_path: Path, started: Started) -> None:
    """The user's own runs as it would have, under its own name, and our folder is not on the path."""
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.MINE = __file__\n")
    program = """
import sys
print(MINE)
print(sys.modules["sitecustomize"].__file__)
print([entry for entry in sys.path if "memguard" in entry and entry.endswith("boot")], flush=True)
sys.stdin.read()
"""
    with started(program, PYTHONPATH=str(tmp_path)) as service:
        mine = str(tmp_path / "sitecustomize.py")

        assert [service.line() for _ in range(3)] == [mine, mine, "[]"]
        with Client(service.path, service.token) as client:
            assert client.pid == service.process.pid


def test_the_agent_adds_nothing_that_can_be_imported(started: Started) -> None:
    """An interpreter without site-packages gets the package, and not its neighbours; it takes no thread module."""
    with started("import sys, threading; print(threading.active_count()); import psutil") as service:
        assert service.line() == "1"


def test_an_interpreter_without_the_package(home: Path) -> None:
    """The package comes from where it is, though nothing else from there can be imported (-S: no site-packages)."""
    folder, token = folders.create()
    program = f"""
import sys
sys.path.insert(0, {launch._BOOT!r})
import sitecustomize
from pytest_memguard.agent.client import Client
import os
with Client({folder!r} + "/%d.sock" % os.getpid(), {token!r}) as client: print(client.call("stats")["blocks"] > 0)
try:
    import psutil
except ImportError:
    print("no psutil")
"""
    done = run_python(program, "-S", **launch.environment(folder, token, {}))

    assert (done.stdout.split("\n")[:2], done.stderr) == (["True", "no psutil"], "")


def test_a_program_runs_without_its_agent(tmp_path: Path) -> None:
    """Where the agent cannot start, one line says why, and the program does what it does."""
    done = run_python("print('fine')", **launch.environment(str(tmp_path / "gone"), "token", {}))

    assert done.stdout == "fine\n"
    assert done.stderr.startswith("memguard: no agent in process")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 0


def test_an_isolated_interpreter_has_no_agent(home: Path) -> None:
    """With -I the environment is ignored, as the manual says."""
    folder, token = folders.create()
    done = run_python(
        "import sys; print('pytest_memguard' in sys.modules)", "-I", **launch.environment(folder, token, {})
    )

    assert done.stdout == "False\n"


@pytest.mark.parametrize(("program", "code"), [("import sys; sys.exit(5)", 5), ("1/0", 1)])
def test_the_exit_code_stays(home: Path, program: str, code: int) -> None:
    """A program with the agent inside ends as without it, its folder empty."""
    folder, token = folders.create()
    done = run_python(program, **launch.environment(folder, token, {}))

    assert done.returncode == code
    assert [entry.name for entry in Path(folder).iterdir()] == ["token"]


def test_the_agent_is_light(home: Path) -> None:
    """It imports none of the heavy modules of the standard library, and nothing else."""
    folder, token = folders.create()
    heavy = {
        "asyncio",
        "ssl",
        "hashlib",
        "hmac",
        "socket",
        "threading",
        "subprocess",
        "tracemalloc",
        "ctypes",
        "psutil",
    }
    heavy |= {"typing", "dataclasses", "inspect", "pytest"}
    program = f"import sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = run_python(program, "-S", **launch.environment(folder, token, {}))
    with_agent = run_python(f"import sys; sys.path.insert(0, {launch._BOOT!r}); import sitecustomize; {program}", "-S",
                            **launch.environment(folder, token, {}))  # fmt: skip

    assert done.stdout == "[]\n"
    assert set(eval(with_agent.stdout)) <= {"typing"}  # noqa: S307 - a list of names that this test has written
