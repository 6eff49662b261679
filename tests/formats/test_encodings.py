"""CSV in other encodings than UTF-8: read back by other readers, and a text that one doesn't have is refused."""

from __future__ import annotations

import csv
import gzip
import random
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.csv
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv
from mc_sink.formats.csv_encoding import CODECS
from tests.support.format_readers import encoded

OTHERS = {
    "utf-16": 'aé€ł漢🎈"\n,ﾊ',
    "windows-1252": 'aé€ž™"\n,œ',
    "latin-1": 'aéÿ£"\n,\x85',
    "shift_jis": 'aｱ漢字ソ表"\n,能',
}
# Texts that an encoding can't hold: without the character, without its own bytes, or without bytes at all.
LACKING = {"windows-1252": "漢", "latin-1": "€", "shift_jis": "é"}


def rows(text: str) -> list[list[str]]:
    """Read a CSV with Python's module."""
    return list(csv.reader(StringIO(text, newline="")))


@pytest.mark.parametrize("encoding", OTHERS)
@pytest.mark.parametrize("compression", ["uncompressed", "gzip"])
def test_each_encoding_is_read_back(tmp_path: Path, encoding: Any, compression: Any) -> None:
    """Every character survives, also where the encoder's pieces end inside one; the header too."""
    letters, pick = OTHERS[encoding], random.Random(3)  # noqa: S311  the same rows in every run
    header = letters[1]
    texts = ["".join(pick.choices(letters, k=pick.randint(1, 30))) for _ in range(20_000)]
    frame = pl.DataFrame({header: texts, "n": range(len(texts))})
    form = Csv(encoding=encoding, compression=compression)
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format=form, progress=False)
    data = Path(receipt.files[0].path).read_bytes()
    data = gzip.decompress(data) if compression == "gzip" else data
    assert receipt.num_bytes == receipt.files[0].num_bytes
    found = rows(data.decode("utf-16" if encoding == "utf-16" else CODECS[encoding]))
    assert found == [[header, "n"], *([text, str(number)] for number, text in enumerate(texts))]
    assert data.startswith(b"\xff\xfe") == (encoding == "utf-16")


@pytest.mark.parametrize("encoding", OTHERS)
def test_pandas_and_pyarrow_read_it(tmp_path: Path, encoding: Any) -> None:
    """Given the name of the encoding."""
    frame = pl.DataFrame({"s": [OTHERS[encoding], "x"], "n": [1, 2]})
    path = tmp_path / "x.csv"
    path.write_bytes(encoded(Csv(encoding=encoding), frame))
    assert pl.DataFrame(pd.read_csv(path, encoding=encoding).to_dict("list")).equals(frame)
    codec = "utf-16" if encoding == "utf-16" else CODECS[encoding]
    options = {
        "read_options": pyarrow.csv.ReadOptions(encoding=codec),
        "parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True),
    }
    assert pl.DataFrame(pyarrow.csv.read_csv(path, **options)).equals(frame)


@pytest.mark.parametrize("encoding", LACKING)
def test_a_text_that_can_not_be_encoded_is_refused_with_its_row(tmp_path: Path, encoding: Any) -> None:
    """In a cell, a nested one, a label, a header, a field's name and an option: nothing is visible or shown."""
    lacking = LACKING[encoding]
    wrong: list[tuple[dict[str, Any], Any, str]] = [
        ({"n": [1, 2, 3], "s": ["x", f"y{lacking}", None]}, {}, r"1 cell has characters .*'s' \(row 1\)"),
        ({"s": pl.Series(["x", lacking], dtype=pl.Categorical)}, {}, r"'s' \(row 1\)"),
        ({"s": [["x"], [lacking]]}, {"nested": "json"}, r"1 cell has characters .* in 's' \(row 1\)"),
        (
            {"n": [1] * 22, "s": [None, [], ["x", lacking], [lacking]] + [["x"]] * 9 + [[lacking]] * 9},
            {"nested": "json"},
            r"11 cells have characters .* in 's' \(row 2, 3, 13, 14, 15, …\)",
        ),
        ({"s": [{"a": ["x"]}, {"a": None}, {"a": [lacking]}]}, {"nested": "json"}, r"in 's' \(row 2\)"),
        ({lacking: [1]}, {}, "can't write the names"),
        ({"s": [{lacking: 1}]}, {"nested": "json"}, "can't write the names"),
    ]
    for data, options, message in wrong:
        form = Csv(encoding=encoding, **options)
        with pytest.raises(ConfigurationError, match=message) as raised:
            mc_sink.sink_madconnect(pl.DataFrame(data), tmp_path / "x.csv", format=form, progress=False)
        assert f"y{lacking}" not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"null_value=.* can't be written"):
        Csv(encoding=encoding, null_value=f"x{lacking}")
    assert not list(tmp_path.iterdir())


def test_of_several_files_the_one_is_named_whose_rows_are_counted(tmp_path: Path) -> None:
    """Where rows are divided, a number of a row means little without its file."""
    frame, form = pl.DataFrame({"k": list("aabb"), "s": ["x", "x", "x", "日"]}), Csv(encoding="latin-1")
    for options in ({"max_rows_per_file": 2}, {"partition_by": "k"}):
        given: Any = {"format": form, "run_id": "1", "progress": False, **options}
        with pytest.raises(ConfigurationError, match=r"in 's' \(row 1\)") as raised:
            mc_sink.sink_madconnect(frame, f"{tmp_path}/", **given)
        (note,) = [note for note in raised.value.__notes__ if "counted from 0" in note]
        assert "1-00001.csv" in note or "k=b/1-00000.csv" in note
    with pytest.raises(ConfigurationError, match=r"in 's' \(row 3\)") as raised:
        mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=form, progress=False)
    assert not [note for note in getattr(raised.value, "__notes__", ()) if "counted from 0" in note]


def test_shift_jis_refuses_what_shares_its_bytes() -> None:
    """A yen sign would be read back as a backslash, or a tilde as an overline."""
    for letter in "\u00a5\u203e":
        with pytest.raises(ConfigurationError, match="characters that shift_jis doesn't have"):
            encoded(Csv(encoding="shift_jis"), pl.DataFrame({"s": [letter], "n": [1]}))
    text = encoded(Csv(encoding="shift_jis"), pl.DataFrame({"s": ["\\~"], "n": [1]}))
    assert rows(text.decode("shift_jis"))[1] == ["\\~", "1"]


def test_options_that_do_not_go_with_an_encoding_are_refused(tmp_path: Path) -> None:
    """A byte order mark of UTF-8, an unknown name, and a last delivery that can't be read back."""
    with pytest.raises(ConfigurationError, match="is for UTF-8 only"):
        Csv(encoding="latin-1", include_bom=True)
    with pytest.raises(ConfigurationError, match=r"encoding='utf-7'.* is not supported"):
        Csv(encoding="utf-7")  # type: ignore[arg-type]
    frame, form = pl.DataFrame({"id": [1], "s": ["é"]}), Csv(encoding="latin-1")
    mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=form, progress=False)
    options: dict[str, Any] = {"previous": str(tmp_path / "x.csv"), "keys": "id", "changes": "column"}
    with pytest.raises(ConfigurationError, match="a CSV in latin-1 isn't read here"):
        mc_sink.sink_madconnect(frame, tmp_path / "y.csv", format=form, progress=False, **options)
    assert Csv(encoding="latin-1").content_type == "text/csv; charset=iso-8859-1"
    assert Csv().content_type == "text/csv"
