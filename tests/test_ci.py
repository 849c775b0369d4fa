"""Which CI service this is, where the project lies in its repository, and the summary of a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_memguard.ci import Service, append_summary, service_of

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_WORKSPACE": "/home/runner/shop",
    "GITHUB_STEP_SUMMARY": "/home/runner/summary",
}
GITLAB = {"GITLAB_CI": "true", "CI_PROJECT_DIR": "/builds/shop"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Service()),
        (GITHUB, Service("github", "/home/runner/shop", "/home/runner/summary")),
        (GITLAB, Service("gitlab", "/builds/shop")),
        ({**GITHUB, "GITHUB_ACTIONS": "false"}, Service()),
        ({"CI": "true", "GITHUB_STEP_SUMMARY": "x"}, Service()),
    ],
)
def test_the_service(environ: dict[str, str], expected: Service) -> None:
    """It is known by its own variable, not by what others set as well."""
    assert service_of(environ) == expected


def test_a_project_below_its_repository(tmp_path: Path) -> None:
    """The folder is told with slashes; of the repository itself, and of what lies elsewhere, it is empty."""
    (tmp_path / "repository" / "services" / "shop").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    service = Service(workspace=str(tmp_path / "repository"))

    assert service.folder_of(tmp_path / "repository" / "services" / "shop") == "services/shop"
    assert service.folder_of(tmp_path / "link" / "services") == "services"
    assert service.folder_of(tmp_path / "repository") == ""
    assert service.folder_of(tmp_path) == ""
    assert Service().folder_of(tmp_path) == ""


def test_a_summary_is_appended_to(tmp_path: Path) -> None:
    """What others wrote stays, and a line is left free after it."""
    path = tmp_path / "summary"

    assert [append_summary(path, text) for text in ("first\n", "second\n")] == ["", ""]
    assert path.read_bytes() == b"first\n\nsecond\n"


def test_a_summary_without_room(tmp_path: Path) -> None:
    """A summary that would grow too large to be shown stays as it is; one byte less is written."""
    path = tmp_path / "summary"
    path.write_bytes(b"x" * 999_990)

    assert "no room" in append_summary(path, "y" * 11)
    assert path.stat().st_size == 999_990
    assert append_summary(path, "y" * 10) == ""


def test_a_summary_that_cannot_be_written(tmp_path: Path) -> None:
    """One line says why."""
    assert append_summary(tmp_path, "x") == "the summary of this step cannot be written: Is a directory"
    assert "null" in append_summary(tmp_path / "a\0b", "x")
