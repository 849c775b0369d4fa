"""The templates: where they are found, from a checkout and from a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pytest_memguard
from pytest_memguard.renderers import _templates

_ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pytest_memguard.core.values import RunResult
from pytest_memguard.renderers import _templates, html
print(_templates.folder())
print(len(html.render(RunResult("", 0.0))) > 50_000)
"""


def test_beside_the_package() -> None:
    """A checkout has them beside the package, where whoever changes a page finds them."""
    if not (_ROOT / "report_templates").is_dir() or Path(pytest_memguard.__file__).parents[1] != _ROOT:
        pytest.skip("the package does not come from this checkout")

    assert _templates.folder() == _ROOT / "report_templates"


def test_inside_the_wheel(tmp_path: Path) -> None:
    """A wheel carries them inside the package, the vendored library with its licence, and makes pages from there."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=_ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "installed")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert any(name.endswith("licenses/report_templates/vendor/uPlot.LICENSE") for name in names)
    assert (run.stdout.splitlines(), run.stderr) == (
        [str(tmp_path / "installed" / "pytest_memguard" / "report_templates"), "True"],
        "",
    )
