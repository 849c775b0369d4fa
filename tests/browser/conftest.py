"""A browser: Debian's chromium without a window, spoken to over its own pipe, so that no driver is needed."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_PATIENCE_S = 30.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: The browser reads commands from descriptor 3 and answers on 4; a pipe has other numbers where it is made.
_TRAMPOLINE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_OPTIONS = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip


class Browser:
    """One browser process; commands go in, answers and events come out, separated by zero bytes."""

    def __init__(self, path: str, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]
        command = [sys.executable, "-c", _TRAMPOLINE, *map(str, ends), path, *_OPTIONS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            command, pass_fds=ends, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (to_read, to_write, *ends):
            os.close(end)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def say(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send a command and return its answer; what happens meanwhile is kept in ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        until = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Wait for an event that has not been seen yet."""
        until = time.monotonic() + _PATIENCE_S
        while not any(event["method"] == method and event.get("sessionId") == session for event in self.events):
            self.events.append(self._next(until))

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def close(self) -> None:
        """End the process, and close its pipe."""
        self._process.terminate()
        self._process.wait(_PATIENCE_S)
        os.close(self._read)
        os.close(self._write)


class Tab:
    """A page that is open, and what it has logged and asked for."""

    def __init__(self, browser: Browser, *, scripts: bool = True, scheme: str = "light") -> None:
        self.browser = browser
        target = browser.say("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.say("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.say(f"{domain}.enable")
        self.say("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.say("Emulation.setScriptExecutionDisabled", value=not scripts)

    def say(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.say(method, self.session, **parameters)

    def open(self, path: Path) -> None:
        """Go to the file, and wait until it is there."""
        self.browser.events.clear()
        self.say("Page.navigate", url=path.as_uri())
        self.browser.wait_for("Page.loadEventFired", self.session)

    def run(self, expression: str) -> Any:  # noqa: ANN401 - whatever it gives
        """Return the value of a JavaScript expression; of a promise, what it becomes."""
        found = self.say("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        look = f"const look = () => ({condition}) ? resolve() : requestAnimationFrame(look); look();"
        self.run(f"new Promise(resolve => {{ {look} }})")

    def key(self, key: str) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.say("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def type(self, text: str) -> None:
        """Type letters into what has the focus."""
        for letter in text:
            self.say("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
            self.say("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def complaints(self) -> list[str]:
        """Return what was logged, thrown or refused since the page was opened."""
        self.run("0")  # its answer comes after all that was logged before
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self._own() if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Return the scheme of each address that was asked for since the page was opened."""
        asked = [event for event in self._own() if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"].partition(":")[0] for event in asked]

    def _own(self) -> Iterator[dict[str, Any]]:
        return (event for event in self.browser.events if event.get("sessionId") == self.session)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser; skip where there is none."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed here: {', '.join(_NAMES)}")
    started = Browser(path, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Callable[..., Tab]:
    """Return a function that opens the text of a page, with scripts or without, light or dark."""

    def open_page(text: str, *, scripts: bool = True, scheme: str = "light") -> Tab:
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        tab = Tab(browser, scripts=scripts, scheme=scheme)
        tab.open(path)
        return tab

    return open_page
