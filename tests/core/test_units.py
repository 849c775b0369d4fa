import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.units import Unit, amount, duration, parse_allowance, parse_size, signed
from pytest_memguard.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0 B", 0),
        ("64B", 64),
        ("64 bytes", 64),
        (" 64 B ", 64),
        ("1 byte", 1),
        ("1k", 2**10),
        ("24 MB", 24 * 2**20),
        ("24 mib", 24 * 2**20),
        ("1.5 KiB", 1536),
        ("1_000", 1000),
        ("2 GB", 2**31),
        ("1 TiB", 2**40),
        ("9007199254740993", 2**53 + 1),
        ("9223372036854775807", 2**63 - 1),
        (0, 0),
        (4096, 4096),
        (1.5, 1),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_a_size_is_read_in_powers_of_1024(text: str | float, expected: int) -> None:
    """A size is a number and a unit in any common spelling, and whole numbers stay exact."""
    actual = parse_size(text)

    assert actual == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "MB",
        "64 Bananas",
        "1.5.2 MB",
        "1._5 MB",
        "1_ MB",
        "_1 MB",
        "1. MB",
        ".5 MB",
        "1,5 MB",
        "1e3 B",
        "-3 MB",
        "+3 MB",
        "3 MB MB",
        "64 B/run",
        "inf",
        "nan",
        "\u0663 MB",
        "64 \u212aB",
        "9223372036854775808",
        "8388608 TiB",
        "9" * 5000,
        "9" * 400 + ".5 MB",
        -1,
        -0.5,
        math.nan,
        math.inf,
        2**63,
        10**400,
        True,
        None,
        b"1 MB",
    ],
)
def test_what_is_no_size_is_refused(text: str | float) -> None:
    """Anything but a number of zero or more bytes is a configuration error that shows the value."""
    with pytest.raises(ConfigError, match="is not a size") as caught:
        parse_size(text)

    assert str(caught.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("64 B/run", Unit.BYTE, 64.0),
        ("64 B / run", Unit.BYTE, 64.0),
        ("64 B per run", Unit.BYTE, 64.0),
        ("64 B a RUN ", Unit.BYTE, 64.0),
        ("64 B", Unit.BYTE, 64.0),
        ("0.5 B/run", Unit.BYTE, 0.5),
        ("1.5 KB/run", Unit.BYTE, 1536.0),
        (0.25, Unit.BYTE, 0.25),
        (64, Unit.BYTE, 64.0),
        ("0/run", Unit.COUNT, 0.0),
        ("2/run", Unit.COUNT, 2.0),
        ("2 per run", Unit.COUNT, 2.0),
        ("0.5", Unit.COUNT, 0.5),
        (2, Unit.COUNT, 2.0),
        (0, Unit.COUNT, 0.0),
    ],
)
def test_an_allowance_is_read_in_the_unit_of_its_metric(text: str | float, unit: Unit, expected: float) -> None:
    """An allowance is an amount, with or without "per run", and keeps fractions of a byte."""
    actual = parse_allowance(text, unit)

    assert actual == expected


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("64 Bananas/run", Unit.BYTE),
        ("-64 B/run", Unit.BYTE),
        ("64 B/run/run", Unit.BYTE),
        ("64 Barun", Unit.BYTE),
        ("64 B/hour", Unit.BYTE),
        ("/run", Unit.BYTE),
        (True, Unit.BYTE),
        (10**400, Unit.BYTE),
        ("2 B/run", Unit.COUNT),
        ("-1/run", Unit.COUNT),
        (-0.5, Unit.COUNT),
        ("", Unit.COUNT),
        ("nan", Unit.COUNT),
        ("inf", Unit.COUNT),
        (math.inf, Unit.COUNT),
        (math.nan, Unit.COUNT),
        (10**400, Unit.COUNT),
        (True, Unit.COUNT),
        (None, Unit.COUNT),
    ],
)
def test_what_is_no_allowance_is_refused(text: str | float, unit: Unit) -> None:
    """Negative, endless and foreign amounts are configuration errors."""
    with pytest.raises(ConfigError, match="is not a"):
        parse_allowance(text, unit)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, Unit.BYTE, "0 B"),
        (0.3, Unit.BYTE, "0.3 B"),
        (1023, Unit.BYTE, "1023 B"),
        (1023.94, Unit.BYTE, "1023.9 B"),
        (1023.96, Unit.BYTE, "1.0 KiB"),
        (1024, Unit.BYTE, "1.0 KiB"),
        (-1126, Unit.BYTE, "-1.1 KiB"),
        (2**20 - 52, Unit.BYTE, "1023.9 KiB"),
        (2**20 - 51, Unit.BYTE, "1.0 MiB"),
        (5 * 2**50, Unit.BYTE, "5120.0 TiB"),
        (math.inf, Unit.BYTE, "inf B"),
        (0, Unit.COUNT, "0"),
        (-0.0, Unit.COUNT, "0"),
        (7, Unit.COUNT, "7"),
        (7.04, Unit.COUNT, "7.0"),
        (0.999, Unit.COUNT, "1"),
        (0.04, Unit.COUNT, "0.04"),
        (1e-9, Unit.COUNT, "1e-09"),
        (-math.inf, Unit.COUNT, "-inf"),
        (math.nan, Unit.COUNT, "nan"),
        (1.5, Unit.SECOND, "1.5 s"),
    ],
)
def test_an_amount_reads_well_on_both_sides_of_each_prefix(value: float, unit: Unit, expected: str) -> None:
    """A size moves to the next prefix where rounding would otherwise show 1024 of the smaller one."""
    actual = amount(value, unit)

    assert actual == expected


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool), st.sampled_from([Unit.BYTE, Unit.COUNT]))
def test_only_a_true_zero_is_shown_as_zero(value: float, unit: Unit) -> None:
    """No amount but zero itself reads as zero."""
    number = amount(value, unit).split()[0]

    assert float(number) != 0


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_plain_number_of_bytes_survives_the_way_through_text(size: int) -> None:
    """What is written as a whole number of bytes is read back exactly."""
    actual = parse_size(f"{size} B")

    assert actual == size


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, "+7"), (0, "0"), (-1126, "-1126")],
)
def test_a_signed_amount_shows_where_it_goes(value: float, expected: str) -> None:
    """Growth carries a plus, shrinking a minus, zero neither."""
    actual = signed(value, Unit.COUNT)

    assert actual == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9995, "1.0 s"),
        (1, "1.0 s"),
        (119.9, "119.9 s"),
        (120, "2.0 min"),
        (-180, "-3.0 min"),
    ],
)
def test_a_duration_reads_well_on_both_sides_of_each_unit(seconds: float, expected: str) -> None:
    """A time span is shown in ms, s or min, never as 1e+03 ms."""
    actual = duration(seconds)

    assert actual == expected
