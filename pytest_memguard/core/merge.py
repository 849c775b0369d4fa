"""Sessions of one commit -> one: the shards of a suite, or the environments of a matrix."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.environment import environment_key
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_memguard.core.values import RunResult

__all__ = ["merge"]


def merge(runs: Iterable[RunResult]) -> RunResult:
    """
    Return one session with the results of all *runs*, of which there is at least one; in any grouping the same.

    Where environments differ, the first is told in full, and the keys of all.

    Raises:
        DocumentError: they are of different commits, or one is there twice.

    """
    return functools.reduce(_merged, runs)


def _merged(one: RunResult, other: RunResult) -> RunResult:
    shas = [str((run.commit or {}).get("sha") or "") for run in (one, other)]
    if all(shas) and shas[0] != shas[1]:
        raise DocumentError(f"these are of different commits, {shas[0][:10]} and {shas[1][:10]}; compare them instead")
    if one.results and one.started_at == other.started_at and one.results == other.results:
        raise DocumentError(f"the session of {one.started_at} is there twice")
    environment = _environment(one.environment, other.environment)
    return replace(one + other, environment=environment, commit=one.commit or other.commit)


def _environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = sorted({*_keys(one), *_keys(other)})
    return one if len(keys) == 1 else {**one, "merged": keys}


def _keys(environment: Mapping[str, Any]) -> list[str]:
    merged = environment.get("merged")
    return [str(key) for key in merged] if isinstance(merged, list) and merged else [environment_key(environment)]
