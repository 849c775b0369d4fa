"""The package: its public names, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import pytest_memguard
from pytest_memguard import errors


@pytest.mark.parametrize("name", pytest_memguard.__all__)
def test_public_names(name: str) -> None:
    """Every public name is there, from the place that it says."""
    value = getattr(pytest_memguard, name)
    place = pytest_memguard._PLACES.get(name)

    assert place is None or getattr(sys.modules[place], name) is value
    assert vars(pytest_memguard)[name] is value


def test_all_lazy_names_are_public() -> None:
    """The names that are imported when they are used are all the public ones, besides the version."""
    assert sorted([*pytest_memguard._PLACES, "__version__"]) == sorted(pytest_memguard.__all__)


def test_a_name_that_does_not_exist() -> None:
    """A name that the package does not have is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="module 'pytest_memguard' has no attribute 'no_leaks'"):
        pytest_memguard.no_leaks  # type: ignore[attr-defined] # noqa: B018 - asking is the test


def test_the_version_is_that_of_the_distribution() -> None:
    """The package and its distribution have one version."""
    assert importlib.metadata.version("pytest-memguard") == pytest_memguard.__version__


def test_importing_the_package_imports_nothing_else() -> None:
    """Importing the package alone imports no other part of it, and no pytest."""
    program = (
        "import sys, pytest_memguard\n"
        "print(sorted(name for name in sys.modules if name.startswith(('pytest', '_pytest', 'pluggy', 'psutil'))))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == ("['pytest_memguard']", "")


def test_errors_do_not_need_pytest() -> None:
    """A service can catch the package's errors without pytest being there."""
    program = "import sys; from pytest_memguard import LeakError; print('pytest' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == ("False", "")


@pytest.mark.parametrize("name", errors.__all__)
def test_one_base_for_all_errors(name: str) -> None:
    """Every error of the package can be caught as MemguardError; leaks are failed assertions as well."""
    kind = getattr(errors, name)

    assert issubclass(kind, errors.MemguardError)
    assert issubclass(kind, AssertionError) is issubclass(kind, errors.LeakError)
