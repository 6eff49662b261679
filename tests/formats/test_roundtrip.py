"""Three libraries read back unchanged what is delivered, or it is refused for a reason that is known beforehand."""

from __future__ import annotations

import math
import tempfile
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import mc_sink
from mc_sink import ConfigurationError, Csv, Parquet
from tests.support.format_readers import PARQUET_READERS, READERS, in_parquet
from tests.support.format_strategies import SIMPLE, dialects, frames

FORMULAS = tuple("=+-@\t\r\n＝＋－＠")
TEXTS = (pl.String, pl.Categorical, pl.Enum)
_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
CSVS, PARQUETS = st.tuples(frames(), dialects()), st.tuples(frames(), st.builds(Parquet, null_dtype=st.just("write")))
NORMAL = settings(max_examples=200, deadline=None, suppress_health_check=_HEALTH, derandomize=True)
LONG = settings(max_examples=3_000, deadline=None, suppress_health_check=_HEALTH)


def leaves(value: Any) -> list[Any]:
    """Give what stands at the ends of a value."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def refused_by_csv(frame: pl.DataFrame, dialect: Csv) -> set[str]:
    """Say, value by value in Python, why a dialect can't hold a frame."""
    why: set[str] = set()
    first = frame.to_series(0)
    if dialect.include_header:
        why |= {"mark"} if first.name.startswith("\ufeff") else set()
        ends = {*"\r\n", dialect.separator, dialect.quote_char}
        why |= {"quotes"} if dialect.include_bom and {*first.name} & ends else set()
        formulas = [name for name in frame.columns if name.startswith(FORMULAS)]
        why |= {"formula"} if formulas and dialect.formulas == "raise" else set()
        why |= (
            {"twice"}
            if dialect.formulas == "escape" and any(f"'{name}" in frame.columns for name in formulas)
            else set()
        )
    elif isinstance(first.dtype, TEXTS) and any((text or "").startswith("\ufeff") for text in first):
        why.add("mark")
    if (
        frame.width == 1
        and dialect.quote_style != "always"
        and not dialect.null_value
        and _becomes_null(first, dialect)
    ):
        why.add("blank line")
    for values in frame.get_columns():
        why |= _refused_column(values, dialect)
    return why


def _becomes_null(values: pl.Series, dialect: Csv) -> bool:
    return any(value is None or (dialect.non_finite == "null" and _is_non_finite(value)) for value in values.to_list())


def _refused_column(values: pl.Series, dialect: Csv) -> set[str]:
    why: set[str] = set()
    nested, ends = (
        values.dtype.is_nested(),
        [leaf for value in values.to_list() for leaf in leaves(value) if leaf is not None],
    )
    if nested and dialect.nested == "raise":
        why.add("nested")
    if any(map(_is_non_finite, ends)) and (dialect.non_finite == "raise" or (nested and dialect.non_finite == "write")):
        why.add("not finite")
    if any(isinstance(end, datetime) and end.tzinfo and _seconds_off(end) for end in ends):
        why.add("offset")
    if not nested:
        why |= {"drops" for end in ends if _drops(end, dialect)}
        why |= {"zone"} if isinstance(values.dtype, pl.Datetime) and _zone_is_lost(values.dtype, dialect) else set()
        texts = [end for end in ends if isinstance(end, str)]
        why |= {"formula" for text in texts if dialect.formulas == "raise" and text.startswith(FORMULAS)}
        why |= {"null" for text in texts if dialect.null_value and _changed_text(text, dialect) == dialect.null_value}
    return why


def _is_non_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _seconds_off(moment: datetime) -> bool:
    offset = moment.utcoffset()
    return offset is not None and offset % timedelta(minutes=1) != timedelta()


def _drops(value: object, dialect: Csv) -> bool:
    pattern = {datetime: dialect.datetime_format, time: dialect.time_format}.get(type(value))
    if pattern is None or not isinstance(value, (datetime, time)):
        return False
    if pattern.endswith("%H:%M"):
        return bool(value.second or value.microsecond)
    return pattern == "%T%.3f" and value.microsecond % 1000 != 0


def _zone_is_lost(dtype: pl.Datetime, dialect: Csv) -> bool:
    pattern = dialect.datetime_format or "iso"
    return "iso" not in pattern and (dtype.time_zone is not None) != ("z" in pattern)


def _changed_text(text: str, dialect: Csv) -> str:
    return f"'{text}" if dialect.formulas == "escape" and text.startswith(FORMULAS) else text


def as_written(frame: pl.DataFrame, dialect: Csv) -> pl.DataFrame:
    """Give the frame with what the dialect changes of it."""
    names = [_changed_text(name, dialect) if dialect.include_header else name for name in frame.columns]
    return pl.DataFrame(dict(zip(names, (_changed(values, dialect) for values in frame.get_columns()), strict=True)))


def _changed(values: pl.Series, dialect: Csv) -> pl.Series:
    values, dtype = values.alias(""), values.dtype
    if dialect.formulas == "escape" and isinstance(dtype, TEXTS):
        texts = [text if text is None else _changed_text(text, dialect) for text in values.to_list()]
        return pl.Series(texts, dtype=pl.String)
    if dialect.non_finite == "null":
        cells = values.to_list()
        found = any(_is_non_finite(leaf) for cell in cells for leaf in leaves(cell))
        return pl.Series([_finite(cell) for cell in cells], dtype=dtype) if found else values
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if _is_non_finite(value) else value


def refused(frame: pl.DataFrame, format: Csv | Parquet) -> set[str]:
    """Say why a format can't hold a frame; nothing if it can."""
    if isinstance(format, Csv):
        return refused_by_csv(frame, format)
    return {str(dtype) for dtype in frame.dtypes if "Int128" in str(dtype)}


def survives(frame: pl.DataFrame, format: Csv | Parquet) -> None:
    """Deliver a frame to a local file, and compare what three libraries read with it; or find that it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{format.extension}")
        why = refused(frame, format)
        event(f"{format.extension}: {', '.join(sorted(why)) or 'delivered'}")
        if why:
            with pytest.raises(ConfigurationError):
                mc_sink.sink_madconnect(frame, path, format=format, progress=False, row_group_size=2)
            assert not path.exists()
        else:
            mc_sink.sink_madconnect(frame, path, format=format, progress=False, row_group_size=2)
            comes_back(path, frame, format)


def comes_back(path: Path, frame: pl.DataFrame, format: Csv | Parquet) -> None:
    """Find that all three libraries read the frame from a file."""
    if isinstance(format, Parquet):
        expected = in_parquet(frame)
        for read in PARQUET_READERS.values():
            _same(read(path, expected.schema), expected)
    elif frame.height or format.include_header:  # nothing at all is what readers call an empty file
        expected = as_written(frame, format)
        for read_csv in READERS.values():
            _same(_merged(read_csv(path, expected.schema, format), format), _merged(expected, format))


def _merged(frame: pl.DataFrame, dialect: Csv) -> pl.DataFrame:
    """Make one thing of nulls and empty texts, where the dialect does."""
    if dialect.null_value != "" or dialect.quote_style != "always":
        return frame
    columns = {values.name: values.alias("") for values in frame.get_columns()}
    empty = {name for name, values in columns.items() if isinstance(values.dtype, TEXTS)}
    return pl.DataFrame({n: v.cast(pl.String).replace("", None) if n in empty else v for n, v in columns.items()})


def _same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(found, expected, check_exact=True)
    for values in expected.get_columns():
        if values.dtype.is_float():  # 0.0 equals -0.0 everywhere else
            assert _signs(found[values.name]) == _signs(values)


def _signs(values: pl.Series) -> list[float]:
    return [math.copysign(1, value) for value in values if value is not None and not math.isnan(value)]


@NORMAL
@given(CSVS)
def test_a_csv_is_read_back(case: tuple[pl.DataFrame, Csv]) -> None:
    """Polars, pyarrow and DuckDB read the frame that was delivered, in every dialect, or it is refused with reason."""
    survives(*case)


@pytest.mark.parametrize("dtype", SIMPLE, ids=str)
@pytest.mark.parametrize("cell", ["", "x", None])
def test_nulls_in_quotes_are_read_back(tmp_path: Path, dtype: pl.DataType, cell: str | None) -> None:
    """Where a null is written as a quoted empty text, each reader is asked to make a null of one, in every dtype."""
    texts = pl.Series(["", cell], dtype=pl.String)
    frame = pl.DataFrame({"nothing": pl.Series([None, None], dtype=dtype), "text": texts})
    dialect = Csv(quote_style="always", null_value="")
    mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=dialect, progress=False)
    comes_back(tmp_path / "x.csv", frame, dialect)


@settings(NORMAL, max_examples=100)
@given(PARQUETS)
def test_parquet_is_read_back(case: tuple[pl.DataFrame, Parquet]) -> None:
    """The three read the frame from Parquet, with names and dtypes of every kind."""
    survives(*case)


@pytest.mark.long
@pytest.mark.timeout(3600)
@LONG
@given(CSVS)
def test_a_csv_is_read_back_at_length(case: tuple[pl.DataFrame, Csv]) -> None:
    """The same, for thousands of frames and dialects."""
    survives(*case)


@pytest.mark.long
@pytest.mark.timeout(3600)
@LONG
@given(PARQUETS)
def test_parquet_is_read_back_at_length(case: tuple[pl.DataFrame, Parquet]) -> None:
    """The same, for thousands of frames."""
    survives(*case)
