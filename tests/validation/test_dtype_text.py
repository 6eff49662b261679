"""The dtypes of a schema in YAML are parsed here, alike with every version of Pandera."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pandera.engines.polars_engine import Engine

from mc_sink import ConfigurationError
from mc_sink._dtype_text import parse_dtype
from mc_sink.validation.schemas import load_schema

DTYPES: list[pl.DataType] = [
    pl.Int64(),
    pl.Null(),
    pl.Categorical(),
    pl.Decimal(10, 2),
    pl.Datetime("us", "Europe/Berlin"),
    pl.Datetime("ms"),
    pl.Duration("ns"),
    pl.Enum(["a", "b, (c)", "'"]),
    pl.List(pl.Datetime("us", "UTC")),
    pl.Array(pl.Int8, 2),
    pl.Struct({"a b": pl.Int8, "c": pl.List(pl.String)}),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_dtype_is_read_as_polars_prints_it(dtype: pl.DataType) -> None:
    """Names are looked up by Pandera; dtypes with arguments are built."""
    assert parse_dtype(str(dtype), Engine.dtype).type == dtype


@pytest.mark.parametrize("text", ["int64", "INT64", "string", "Datetime", "datetime"])
def test_a_lone_name_is_one_of_panderas(text: str) -> None:
    """Pandera's own names of dtypes work as in Python, in upper and in lower case."""
    assert parse_dtype(text, Engine.dtype) == Engine.dtype(text.lower())


BAD: list[Any] = ["Wrong", "List(Wrong)", "Int8(3)", "List(", "1", "max(3)", "List(Int8)(2)", "__import__('os')"]


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_with_its_text(text: str, tmp_path: Any) -> None:
    """Nothing is called but dtypes, and the message has the text."""
    path = tmp_path / "own.yaml"
    path.write_text(f'schema_type: polars_dataframe\ncolumns:\n  x:\n    dtype: "{text}"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load_schema(path)
    assert repr(text) in str(raised.value)
