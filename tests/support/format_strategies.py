"""Frames and dialects that Hypothesis makes up: naughty names and texts, every dtype, every option."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import reject
from hypothesis import strategies as st
from polars.testing.parametric import column, dataframes

from mc_sink import ConfigurationError, Csv
from tests.support.dtypes import Map, existing, has_absent_dtype

# What breaks readers, what reads like something else, and what looks like something else.
_MARKS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\x1f",
    "\x85",
    "\u2028",
    "\u2029",
    "\u200f\u202ex",
    "\ufeff",
]
_QUOTES = ['"', '""', "'", "''", "a'b", 'a"b', 'say "no"\nand, leave', "\ufeff", "\ufeffx", "a\ufeff"]
_WORDS = r", ; | \ \N # #c NULL null NA NaN inf -inf None true Y 0 007 1e5 [] {} %s * ^.*$ ^a$ 2026-11-22 é 🎈 𝔘"
_FORMULAS = "=1+1 +49 -1 @x ＝x －"
NAUGHTY = [*_MARKS, *_QUOTES, *_WORDS.split(" "), *_FORMULAS.split(" "), "e\u0301", "x" * 13, "x" * 5_000]
TEXTS = st.one_of(
    st.sampled_from(NAUGHTY), st.text(max_size=6), st.lists(st.sampled_from(NAUGHTY), max_size=3).map("".join)
)
LABELS = ["", "x", "a,b", 'q"', "NULL", "=1", "\n", " "]
HEADERS = st.one_of(st.sampled_from(NAUGHTY), st.text(max_size=4), st.sampled_from(["a", "A", "b", "'=1+1"]))
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia"]
UNITS = st.sampled_from(["ms", "us", "ns"])
SIMPLE = existing(
    [
        *[pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int128, pl.UInt128],
        *[pl.Float16, pl.Float32, pl.Float64, pl.Boolean, pl.Date, pl.Time, pl.Null, pl.Categorical],
    ]
)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(SIMPLE),
    st.just(pl.String),
    st.just(pl.String),
    st.builds(pl.Datetime, UNITS, st.sampled_from([None, None, *ZONES])),
    st.integers(1, 38).flatmap(lambda digits: st.builds(pl.Decimal, st.just(digits), st.integers(0, digits))),
    st.just(pl.Enum(LABELS)),
)
FIELDS = st.lists(st.sampled_from(["a", "b", 'q"', "é\n"]), min_size=1, max_size=3, unique=True)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(pl.List, inner),
        st.builds(pl.Array, inner, st.integers(1, 2)),
        FIELDS.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, inner)).map(pl.Struct)),
        *([st.builds(Map, st.just(pl.String), inner)] if not has_absent_dtype(Map) else []),
    ),
    max_leaves=3,
)
DTYPES = st.one_of(LEAVES, LEAVES, LEAVES, NESTED)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "separator": st.sampled_from([*",;\t| ~^#&_/\\\x01\x1f"]),
    "include_header": st.booleans(),
    "quote_style": st.sampled_from(["necessary", "always", "non_numeric"]),
    "quote_char": st.sampled_from([*"\"'`|~"]),
    "null_value": st.sampled_from([None, "", "NULL", "\\N", "NA", "x"]),
    "line_terminator": st.sampled_from(["\n", "\r\n"]),
    "include_bom": st.booleans(),
    "boolean_format": st.sampled_from([("true", "false"), ("Y", "N"), ("1", "0"), ("ja, gern", 'nein"')]),
    "date_format": st.sampled_from([None, "iso", "%d.%m.%Y", "%Y%m%d"]),
    "time_format": st.sampled_from([None, "iso", "%H:%M", "%T%.3f", "%T%.9f"]),
    "datetime_format": st.sampled_from([None, None, "iso", "iso:strict", "%d.%m.%Y %H:%M", "%F %T%.6f%:z"]),
    "float_scientific": st.sampled_from([None, True, False]),
    "decimal_comma": st.booleans(),
    "non_finite": st.sampled_from(["write", "null", "raise"]),
    "formulas": st.sampled_from(["allow", "escape", "raise"]),
    "compression": st.sampled_from(["uncompressed", "gzip"]),
}


@st.composite
def dialects(draw: st.DrawFn) -> Csv:
    """Make a dialect that is one, with a few options of its own."""
    names = draw(st.lists(st.sampled_from(list(OPTIONS)), max_size=6, unique=True))
    options: dict[str, Any] = {"nested": draw(st.sampled_from(["json", "json", "json", "raise"]))}
    options |= {name: draw(OPTIONS[name]) for name in names}
    if options.get("quote_style") == "always":
        options.setdefault("null_value", "NULL")
    if options.get("decimal_comma"):
        options["separator"] = ";"
    try:
        return Csv(**options)
    except ConfigurationError:
        return reject()


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Make a frame of naughty names and values, in one part or two, with something masked out under its nulls."""
    names = draw(st.lists(HEADERS, min_size=draw(st.sampled_from([1, 2, 2, 2])), max_size=4, unique=True))
    dtypes = [draw(DTYPES) for _ in names]
    # Named plainly while they are made: to Polars, "^a$" is a pattern, in a Series' own methods too.
    columns = [column(f"c{n}", dtype, strategy=_values_of(dtype), allow_null=True) for n, dtype in enumerate(dtypes)]
    frame = draw(dataframes(columns, max_size=5))
    mask = draw(st.none() | st.lists(st.booleans(), min_size=frame.height, max_size=frame.height))
    if mask is not None:
        frame = frame.select(pl.when(pl.lit(pl.Series(mask, dtype=pl.Boolean))).then(pl.all()))
    frame.columns = names
    return frame


def _values_of(dtype: Any) -> st.SearchStrategy[Any] | None:
    """Return the values of a dtype, where Polars' own strategy would be too tame or too wild."""
    if dtype == pl.String:
        return TEXTS | st.none()
    if dtype == pl.Categorical:
        return st.sampled_from([None, *LABELS])
    if isinstance(dtype, pl.Datetime):
        anywhere = _between(1900, 2100) if dtype.time_unit == "ns" else _between(2, 9998)
        whole = _between(1980, 2030).map(lambda moment: moment.replace(second=0, microsecond=0))
        return st.one_of(_between(1980, 2030), whole, whole, anywhere, st.none())
    if dtype == pl.Time:
        return st.one_of(st.none(), st.times(), st.times().map(lambda at: at.replace(second=0, microsecond=0)))
    return None


def _between(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Return datetimes of these years, without a zone, as Polars wants them."""
    low, high = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (first, last + 1))
    return st.datetimes(low, high)
