"""A scenario as a test: marker, fixture, document; each with a real service that is loaded for two seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import RunProject, Session

pytest.importorskip("aiohttp", reason="load needs the extra [harness]")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need a POSIX system")

SHOP = """
import asyncio
import sys


ORDERS = []
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"


async def serve(reader, writer):
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        if sys.argv[2] == "leaky":
            ORDERS.append([bytes(1024)])
        writer.write(ANSWER)
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
"""


def scenario(mode: str) -> str:
    """Return a short scenario of the shop."""
    return f"""
[service]
command = ["${{MEMGUARD_PYTHON}}", "shop.py", "${{MEMGUARD_PORT}}", "{mode}"]
ready_url = "http://127.0.0.1:${{MEMGUARD_PORT}}/"

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
duration_s = 0.4

[cool_down]
duration_s = 0

[sampling]
interval_s = 0.05

[[step]]
name = "orders"
route = "/"
times = 50
"""


PROJECT = {
    "shop.py": SHOP,
    "leaky.toml": scenario("leaky"),
    "clean.toml": scenario("clean"),
    "test_shop.py": """
        import urllib.request

        import pytest

        @pytest.mark.memguard_scenario("leaky.toml")
        def test_leaky():
            pass

        @pytest.mark.memguard_scenario("clean.toml")
        def test_clean(memguard_service):
            assert urllib.request.urlopen(memguard_service.url).read() == b"ok"
            assert len(memguard_service.pids()) == 1

        @pytest.mark.memguard_scenario("clean.toml")
        def test_body_fails():
            raise ValueError("so nothing is measured")

        def test_without_marker(memguard_service):
            pass
    """,
}


def services(folder: Path) -> list[psutil.Process]:
    """Return the processes that run in a folder."""
    return [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)]


@pytest.fixture(scope="module")
def session(run_project: RunProject) -> Session:
    """Return a session in which every test is to be checked."""
    return run_project(PROJECT, "--memguard")


def test_leaky_service_fails_its_test(session: Session) -> None:
    """The failure says what stays a request, and who holds it; the test needs no body."""
    assert session.outcome("test_leaky") == "failure"
    result = session.results["test_leaky"]
    assert (result["kind"], result["verdict"], result["file"]) == ("scenario", "leak", "test_shop.py")
    assert {finding["metric"] for finding in result["findings"]} >= {"blocks"}
    assert "LeakError" in session.stdout


def test_clean_service_passes_and_is_reported(session: Session) -> None:
    """The body asks the running service first; then the scenario has a service of its own."""
    assert session.outcome("test_clean") == "passed"
    assert session.verdict("test_clean") in ("clean", "settled")
    assert session.results["test_clean"]["runs"] > 100


def test_failing_body_is_not_soaked(session: Session) -> None:
    """A test that fails by itself is reported as that, and nothing is loaded."""
    assert session.outcome("test_body_fails") == "failure"
    assert "test_body_fails" not in session.results


def test_fixture_needs_a_scenario(session: Session) -> None:
    """The fixture without the marker says what to write."""
    assert session.outcome("test_without_marker") == "error"
    assert "memguard_service needs a scenario; write @pytest.mark.memguard_scenario('shop.toml')" in session.stdout


def test_nothing_is_left_running(session: Session) -> None:
    """After the session no service is there."""
    assert services(session.folder) == []


def test_switched_off_checks_nothing(run_project: RunProject) -> None:
    """With --no-memguard only the bodies run, and their services."""
    found = run_project(PROJECT, "--no-memguard", "-k", "leaky or clean")

    assert found.outcomes == {"test_leaky": ["passed"], "test_clean": ["passed"]}
    assert found.document["results"] == []
    assert services(found.folder) == []


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("('a.toml', rate=3)", "memguard_scenario takes one file, and undecided='fail' or 'pass'"),
        ("('a.toml', undecided='maybe')", "undecided = 'maybe' is neither 'fail' nor 'pass'"),
    ],
)
def test_wrong_marker_ends_the_session(run_project: RunProject, marker: str, message: str) -> None:
    """A marker with other arguments is an error of usage, before anything runs."""
    test = f"import pytest\n\n@pytest.mark.memguard_scenario{marker}\ndef test_shop():\n    pass\n"
    found = run_project({"test_shop.py": test}, document=False)

    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in found.stderr


def test_scenario_that_is_not_there(run_project: RunProject) -> None:
    """A file that is neither beside the test nor below the root fails the test with both places."""
    test = "import pytest\n\n@pytest.mark.memguard_scenario('no.toml')\ndef test_shop():\n    pass\n"
    found = run_project({"test_shop.py": test}, document=False)

    assert found.tally == {"failed": 1}
    assert "'no.toml' is in neither of " in found.stdout


def test_baseline_of_a_test(run_project: RunProject) -> None:
    """A saved footprint is compared within a test, and more than before fails it; then nothing is soaked besides."""
    test = """
        import json
        from pathlib import Path

        import pytest

        from pytest_memguard import store
        from pytest_memguard.scenario import kept, stages

        pytestmark = pytest.mark.memguard_scenario("clean.toml")

        def test_nothing_saved(memguard_service):
            assert memguard_service.baseline() is None

        def test_as_before(memguard_service):
            scenario, environment = memguard_service.scenario, store.environment()
            kept.write(stages.measure(scenario, runs=1, environment=environment), kept.place_of(scenario, environment))
            assert memguard_service.baseline().worse == ()

        def test_more_than_before(memguard_service):
            (saved,) = Path(".memguard/footprints/clean").iterdir()
            content = json.loads(saved.read_text())
            content["steps"][0]["after"]["rss"] = [1, 1, 1]
            saved.write_text(json.dumps(content))
            memguard_service.baseline()
    """
    found = run_project({**PROJECT, "test_shop.py": test})

    assert found.outcomes == {
        "test_nothing_saved": ["passed"],
        "test_as_before": ["passed"],
        "test_more_than_before": ["failure"],
    }
    assert "clean takes more than before" in found.stdout
    assert found.document["results"] == []


def test_marker_is_listed(tmp_path: Path) -> None:
    """``pytest --markers`` knows it."""
    command = [sys.executable, "-m", "pytest", "--markers"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "@pytest.mark.memguard_scenario(file" in shown


def test_document_is_one_of_the_usual_kind(session: Session) -> None:
    """What a scenario found stands in the same document as what tests found, over seconds."""
    series = session.results["test_leaky"]["series"]

    assert {one["x_unit"] for one in series} == {"second"}
    assert json.loads((session.folder / "memguard.json").read_text(encoding="ascii"))["schema"] == "memguard-result/1"
