"""The example in the docstring of `sink_madconnect` runs as it stands."""

from __future__ import annotations

import inspect
from textwrap import dedent
from typing import TYPE_CHECKING

import polars as pl

import mc_sink

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_example_of_the_docstring_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frame arrives in the file that it prints."""
    monkeypatch.chdir(tmp_path)
    lines = inspect.getdoc(mc_sink.sink_madconnect) or ""
    example = lines.partition("    import polars")[2].partition("\n\nParameters")[0]
    exec(dedent(f"    import polars{example}"), {})  # noqa: S102  the text of the docstring
    file = tmp_path / "out" / "20261122.parquet"
    assert capsys.readouterr().out.strip().endswith(f"2 ['{file}']")
    assert pl.read_parquet(file).to_dict(as_series=False) == {"id": [1, 2], "country": ["US", "DE"]}
