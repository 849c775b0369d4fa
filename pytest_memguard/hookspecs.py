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
def memguard_renderers() -> Mapping[str, Renderer]:  # type: ignore[empty-body] # see above
    """
    Name renderers of a session's result.

    Returns:
        Renderers by name; an empty mapping adds nothing. A name that is taken already is replaced.

    """
