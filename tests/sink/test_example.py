"""The examples in docstrings and on the page about shares run as they stand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import polars as pl
import pytest

import mc_sink

PAGE = Path(__file__).parents[2] / "docs" / "shares.md"


def example_of(call: Any) -> str:
    """Return the example in a docstring."""
    text = (inspect.getdoc(call) or "").partition("    import polars")[2].partition("\n\nParameters")[0]
    return dedent(f"    import polars{text}")


def test_the_example_of_the_docstring_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frame arrives in the file that it prints."""
    monkeypatch.chdir(tmp_path)
    exec(example_of(mc_sink.sink_madconnect), {})  # noqa: S102  the text of the docstring
    file = tmp_path / "out" / "20261122.parquet"
    assert capsys.readouterr().out.strip().endswith(f"2 ['{file}']")
    assert pl.read_parquet(file).to_dict(as_series=False) == {"id": [1, 2], "country": ["US", "DE"]}


@pytest.mark.parametrize(
    "example", [example_of(mc_sink.open_delivery), *re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)]
)
def test_the_examples_of_shares_deliver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    """Two shares are one run, with a manifest."""
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102  the text of the docstring and of the page
    assert pl.read_parquet(tmp_path / "out" / "*.parquet")["id"].to_list() == list(range(100))
    assert (tmp_path / "out" / "_manifests" / "20261127.json").is_file()
