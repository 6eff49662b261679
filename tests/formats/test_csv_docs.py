"""What docs/csv.md tells readers to write is run as it stands there; cells of ten megabytes are read that way too."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest

import mc_sink
from mc_sink import Csv, Parquet
from tests.support.format_readers import ALL_FORMATS, NAMES, PARQUET_READERS, READERS, encoded

DOCS = (Path(__file__).parents[2] / "docs" / "csv.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"```python\n# (\w+)\n(.*?)```", DOCS, re.DOTALL))
FRAME = pl.DataFrame(
    {
        "id": [1, 2, None, 4],
        "name": ["", None, 'a "quoted",\ncell', "x" * (3 * 2**20)],
        "score": [0.1, float("nan"), float("-inf"), None],
        "seen_at": pl.Series([0, None, 1, 2], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
    }
)


@pytest.mark.parametrize("reader", ["Polars", "pyarrow", "DuckDB"])
def test_the_readers_code_reads_the_default_dialect(reader: str, tmp_path: Path) -> None:
    """Each snippet gives the frame that was written, a line of three megabytes in it."""
    path = tmp_path / "x.csv"
    path.write_bytes(encoded(Csv(), FRAME))
    names: dict[str, Any] = {"path": path, "pl": pl, "pa": pa, "pyarrow": pyarrow, "duckdb": duckdb}
    exec(SNIPPETS[reader], names)  # noqa: S102  the snippet of our own docs
    found = names["found"].to_arrow_table() if reader == "DuckDB" else names["found"]
    found = found if reader == "Polars" else pl.DataFrame(found)
    assert found.with_columns(pl.col("seen_at").dt.convert_time_zone("UTC")).equals(FRAME)


def test_every_option_is_in_the_table_with_its_default() -> None:
    """The table of options is that of the class."""
    rows = [line.split(" | ")[:2] for line in DOCS.splitlines() if re.match(r"\| `\w+` \| `", line)]
    shown = {option.strip("| `"): default.strip("`") for option, default in rows}
    assert shown == {field.name: _shown(field.default) for field in fields(Csv)}


def _shown(default: object) -> str:
    return str(default).replace("'", '"') if isinstance(default, tuple) else _quoted(default)


def _quoted(default: object) -> str:
    if default == '"':
        return "'\"'"
    return '"' + default.replace("\n", "\\n") + '"' if isinstance(default, str) else str(default)


@pytest.mark.parametrize("place", ["cell", "header"])
@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_ten_megabytes_in_one_place_are_read_back(format: Csv | Parquet, place: str, tmp_path: Path) -> None:
    """A cell or a header of ten megabytes of quotes and line ends is delivered and read by all three."""
    large = 'q"\n,é' * (10 * 2**20 // 6)
    cell = pl.DataFrame({"a": ["x", large, None], "b": [1, 2, 3]})
    frame = cell if place == "cell" else pl.DataFrame({large: [1, None], "b": ["x", None]})
    path = tmp_path / f"x{format.extension}"
    mc_sink.sink_madconnect(frame, path, format=format, progress=False)
    for name in READERS:
        if isinstance(format, Csv):
            assert READERS[name](path, frame.schema, format).equals(frame)
        else:
            assert PARQUET_READERS[name](path, frame.schema).equals(frame)
