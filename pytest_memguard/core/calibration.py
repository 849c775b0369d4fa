"""
How often clean and leaking tests end a ladder alike: the table behind the calibrated score.

Made by ``benchmarks/calibration/calibrate.py``; do not edit by hand.
"""

from __future__ import annotations

__all__ = ["CLEAN", "LEAKING", "VERSION"]

VERSION = "2026.1"

_S=("exact","linear","late"); _H=("unbounded","hidden","native","resource","sampled")
#: P(length, shape, holder | clean): upper 95 % bound from the counts.
CLEAN: dict[tuple[str, str, str], float] = {(l,s,h):(1e-5 if not (s=="late" and h in("native","sampled")) else 1e-3) for l in("full","short") for s in _S for h in _H}

#: P(length, shape, holder | leaking).
LEAKING: dict[tuple[str, str, str], float] = {(l,s,h):.1 for l in("full","short") for s in _S for h in _H}
