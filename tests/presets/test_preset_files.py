"""A preset of one's own as a TOML file: it is the value that Python would make, and a wrong file is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv, Limit, LimitError, Parquet, Preset
from mc_sink.connector.connections import deliver, load
from mc_sink.presets import preset_of

DOCS = (Path(__file__).parents[2] / "docs" / "receivers.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```toml\n(name = \"crm\".*?)```", DOCS, re.DOTALL)
PAGE = "https://example.com/import-format"
CRM = Preset(
    name="crm",
    format=Csv(separator=";", datetime_format="iso"),
    other_formats=(Parquet(compression="snappy"),),
    max_rows_per_file=1_000_000,
    limits=(
        Limit("cell size", 4_000, "characters", PAGE),
        Limit("forbidden characters", "NUL tab", "", PAGE, (".csv", ".csv.gz")),
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the example of the docs."""
    made = tmp_path / "crm.toml"
    made.write_text(EXAMPLE, encoding="utf-8")
    return made


def test_the_example_of_the_docs_is_the_preset(file: Path) -> None:
    """By a path as text or as a path."""
    assert preset_of(str(file)) == preset_of(file) == CRM


def test_it_is_used_like_any_other(file: Path, tmp_path: Path) -> None:
    """In Python and in a connection file, whose folder its path begins at."""
    frame = pl.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    mc_sink.sink_madconnect(frame, tmp_path / "x.csv", preset=str(file), progress=False)
    assert (tmp_path / "x.csv").read_text() == "a;b\nx;1\ny;2\n"
    mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", preset=file, progress=False)
    assert pl.read_parquet(tmp_path / "x.parquet").equals(frame)
    with pytest.raises(LimitError, match='breaks "forbidden characters" of the preset "crm": NUL tab'):
        mc_sink.sink_madconnect(pl.DataFrame({"a": ["\t"]}), tmp_path / "y.csv", preset=file, progress=False)
    frame.write_parquet(tmp_path / "in.parquet")
    connection = tmp_path / "c.toml"
    connection.write_text('target = "z.csv"\npreset = "crm.toml"\n[source]\nfiles = "in.parquet"\n', encoding="utf-8")
    deliver(load(connection))
    assert (tmp_path / "z.csv").read_text() == "a;b\nx;1\ny;2\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "crm"', "", "name is missing"),
        ('name = "crm"', "name = 3", "name = 3 is not possible. Give text"),
        ("max_rows_per_file = 1_000_000", "max_rows_per_file = 0", "a number of rows, 1 or more"),
        ("max_rows_per_file", "max_rows_per_fiel", "unknown key of the preset. Did you mean 'max_rows_per_file'"),
        ("max_rows_per_file = 1_000_000", "manifest = false", 'Give true or "redshift"'),
        ("max_rows_per_file = 1_000_000", 'limits = "x"', "Cannot"),
        ('type = "csv"', 'type = "xml"', r"\[format\] needs a type, one of csv, parquet"),
        ("separator", "separater", r"separater is an unknown key of \[format\]. Did you mean 'separator'"),
        ('separator = ";"', 'separator = "ab"', r"separator='ab'"),
        ('value = "NUL tab"', 'value = "NUL bell"', "'NUL bell'"),
        ('name = "cell size"', 'name = "cell width"', "cell width"),
        ("value = 4_000", "", r"\[\[limits\]\] is not complete"),
        ("[format] ", "[format", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(file: Path, old: str, new: str, message: str) -> None:
    """The message has the file, the key and the nearest right one."""
    assert old in EXAMPLE
    file.write_text(EXAMPLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"crm\.toml") as raised:
        preset_of(file)
    assert re.search(message, str(raised.value))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """With its path."""
    asked: Any = str(tmp_path / "no.toml")
    with pytest.raises(ConfigurationError, match=r"Cannot read the preset .*no\.toml: No such file"):
        mc_sink.sink_madconnect(pl.DataFrame({"a": [1]}), tmp_path / "x.csv", preset=asked)
