"""
Starts the agent when an interpreter starts with this folder on PYTHONPATH, and hands over to whom it has shadowed.

The package is loaded from where it is, and nothing else from there can be imported: the interpreter may be one that
does not have it. Whatever goes wrong, the program runs; a line on stderr says what.
"""
# ruff: noqa: INP001 - a folder for PYTHONPATH is no package
# ruff: noqa: PTH100, PTH120 - pathlib would take 10 ms of the start of every program
# ruff: noqa: PLC0415 - what is imported here at the top would be imported into every program

import sys


def _start() -> None:
    import os

    folder = os.environ.get("MEMGUARD_AGENT_FOLDER", "")
    try:
        if "pytest_memguard" not in sys.modules:
            _load_package(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        from pytest_memguard.agent.server import start

        start(folder)
    except BaseException as error:  # noqa: BLE001 - the program must run
        words = f"memguard: no agent in process {os.getpid()}: {type(error).__name__}: {error}\n"
        sys.stderr.write(words)


def _load_package(package: str) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("pytest_memguard", f"{package}/__init__.py", submodule_search_locations=[package])
    module = module_from_spec(spec)  # type: ignore[arg-type] # the file is there
    sys.modules["pytest_memguard"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr] # see above


def _hand_over() -> None:
    """Run the ``sitecustomize`` that this one stands before."""
    import os
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if entry != here]
    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_start()
_hand_over()
