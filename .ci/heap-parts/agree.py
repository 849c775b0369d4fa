# ruff: noqa: INP001 - started by .ci/heap, and imported by nobody
"""
Whether memguard, DevTools and memlab say the same of the planted leak.

    python agree.py LOGINS memguard.json devtools.json memlab.txt
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

LEAK, PLACE = "service.Session", "module service .SESSIONS: dict [*]: service.Session"
#: memlab knows objects by their identity alone, and new objects may lie where others were.
MEMLAB_FINDS = 0.9
#: DevTools has the bytes of new objects, memguard those of all; the first instances of a class may shrink later.
SIZES_DIFFER = 0.1


def main(logins: int, memguard: dict, devtools: dict, memlab: str) -> None:  # type: ignore[type-arg] # JSON
    """Print what each of them says, and fail where they differ."""
    ours = next(row for row in memguard["types"] if row["type"] == LEAK)
    theirs = next(row for row in devtools["grown"] if row["name"] == LEAK)
    found = re.search(rf"'{re.escape(LEAK)}'\s*│\s*'object'\s*│\s*(\d+)", memlab)
    place = memguard["paths"][0]
    said = {
        "memguard": (ours["count"], ours["bytes"]),
        "DevTools": (theirs["count"], theirs["bytes"]),
        "memlab": int(found[1]) if found else 0,
        "memlab's leak": "service.Session" in memlab.partition("leak(s)")[2],
        "problems": devtools["problems"],
        "place": (place["path"], place["count"]),
    }
    print("\n".join(f"{name}: {value}" for name, value in said.items()))  # noqa: T201 - what it is for
    agreed = (
        ours["count"] == theirs["count"] == logins
        and abs(ours["bytes"] - theirs["bytes"]) <= SIZES_DIFFER * theirs["bytes"]
        and MEMLAB_FINDS * logins <= said["memlab"] <= logins
        and said["memlab's leak"]
        and not devtools["problems"]
        and said["place"] == (PLACE, logins)
    )
    if not agreed:
        sys.exit("they do not agree")


if __name__ == "__main__":
    main(
        int(sys.argv[1]), *(json.loads(Path(name).read_text()) for name in sys.argv[2:4]), Path(sys.argv[4]).read_text()
    )
