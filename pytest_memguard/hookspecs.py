"""
Where others plug in (pluggy project ``memguard``, entry-point group ``memguard``); the built-ins use the same door.

    from pytest_memguard.hookspecs import hookimpl

    @hookimpl
    def memguard_probes():
        return [MyProbe()]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_memguard.core.ports import HolderCheck, Probe, Renderer
    from pytest_memguard.core.values import KnownHolder

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("memguard")
hookimpl = pluggy.HookimplMarker("memguard")


@hookspec
def memguard_probes() -> Sequence[Probe]:  # type: ignore[empty-body] # a specification has no body
    """
    Name probes to read after each run.

    Returns:
        Probes that work here, in the order in which they are read; an empty list adds nothing.

    """


@hookspec(firstresult=True)
def memguard_holder_check() -> Callable[[str], HolderCheck] | None:
    """
    Name what looks for the holder of growing memory.

    Returns:
        A function that makes one from the name of the subject's own module, called once for each subject that
        keeps growing; None leaves it to others.

    """


@hookspec
def memguard_known_holders() -> Sequence[KnownHolder]:  # type: ignore[empty-body] # see above
    """
    Name containers whose growth says nothing about the tested code, such as what a test tool keeps of every run.

    Returns:
        Holders by the patterns of their names, each with the reason why it grows; an empty list adds nothing.

    """


@hookspec
def memguard_renderers() -> Mapping[str, Renderer]:  # type: ignore[empty-body] # see above
    """
    Name renderers of a session's result.

    Returns:
        Renderers by name; an empty mapping adds nothing. A name that is taken already is replaced.

    """
