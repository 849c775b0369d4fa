"""
How often clean and leaking tests end a ladder alike: the table behind the calibrated score.

Made by ``benchmarks/calibration/calibrate.py`` from 36021 clean and 65 leaking tests; not edited by
hand. Ends that are equally telling share the counts of their class.
"""

from __future__ import annotations

__all__ = ["CLEAN", "LEAKING", "VERSION"]

VERSION = "2026.1"

#: P(length, shape, holder | clean): upper 95 % bound from the counts.
CLEAN: dict[tuple[str, str, str], float] = {
    ("full", "exact", "unbounded"): 8.32e-05,
    ("full", "exact", "hidden"): 8.32e-05,
    ("full", "exact", "native"): 8.32e-05,
    ("full", "exact", "resource"): 8.32e-05,
    ("full", "exact", "sampled"): 8.32e-05,
    ("full", "exact", "unseen"): 0.00129,
    ("full", "linear", "unbounded"): 8.32e-05,
    ("full", "linear", "hidden"): 8.32e-05,
    ("full", "linear", "native"): 8.32e-05,
    ("full", "linear", "resource"): 8.32e-05,
    ("full", "linear", "sampled"): 8.32e-05,
    ("full", "linear", "unseen"): 0.00129,
    ("full", "late", "unbounded"): 8.32e-05,
    ("full", "late", "hidden"): 8.32e-05,
    ("full", "late", "native"): 8.32e-05,
    ("full", "late", "resource"): 8.32e-05,
    ("full", "late", "sampled"): 8.32e-05,
    ("full", "late", "unseen"): 0.00129,
    ("short", "exact", "unbounded"): 0.000365,
    ("short", "exact", "hidden"): 0.000365,
    ("short", "exact", "native"): 0.000365,
    ("short", "exact", "resource"): 0.000365,
    ("short", "exact", "sampled"): 0.000365,
    ("short", "exact", "unseen"): 0.00179,
    ("short", "linear", "unbounded"): 0.000365,
    ("short", "linear", "hidden"): 0.000365,
    ("short", "linear", "native"): 0.000365,
    ("short", "linear", "resource"): 0.000365,
    ("short", "linear", "sampled"): 0.000365,
    ("short", "linear", "unseen"): 0.00179,
    ("short", "late", "unbounded"): 0.000365,
    ("short", "late", "hidden"): 0.000365,
    ("short", "late", "native"): 0.000254,
    ("short", "late", "resource"): 0.000365,
    ("short", "late", "sampled"): 0.000254,
    ("short", "late", "unseen"): 0.00179,
}

#: P(length, shape, holder | leaking).
LEAKING: dict[tuple[str, str, str], float] = {
    ("full", "exact", "unbounded"): 0.892,
    ("full", "exact", "hidden"): 0.892,
    ("full", "exact", "native"): 0.892,
    ("full", "exact", "resource"): 0.892,
    ("full", "exact", "sampled"): 0.892,
    ("full", "exact", "unseen"): 0.0154,
    ("full", "linear", "unbounded"): 0.892,
    ("full", "linear", "hidden"): 0.892,
    ("full", "linear", "native"): 0.892,
    ("full", "linear", "resource"): 0.892,
    ("full", "linear", "sampled"): 0.892,
    ("full", "linear", "unseen"): 0.0154,
    ("full", "late", "unbounded"): 0.892,
    ("full", "late", "hidden"): 0.892,
    ("full", "late", "native"): 0.0154,
    ("full", "late", "resource"): 0.892,
    ("full", "late", "sampled"): 0.0154,
    ("full", "late", "unseen"): 0.0154,
    ("short", "exact", "unbounded"): 1,
    ("short", "exact", "hidden"): 1,
    ("short", "exact", "native"): 1,
    ("short", "exact", "resource"): 1,
    ("short", "exact", "sampled"): 1,
    ("short", "exact", "unseen"): 0.0154,
    ("short", "linear", "unbounded"): 1,
    ("short", "linear", "hidden"): 1,
    ("short", "linear", "native"): 1,
    ("short", "linear", "resource"): 1,
    ("short", "linear", "sampled"): 1,
    ("short", "linear", "unseen"): 0.0154,
    ("short", "late", "unbounded"): 1,
    ("short", "late", "hidden"): 1,
    ("short", "late", "native"): 0.0154,
    ("short", "late", "resource"): 1,
    ("short", "late", "sampled"): 0.0154,
    ("short", "late", "unseen"): 0.0154,
}
