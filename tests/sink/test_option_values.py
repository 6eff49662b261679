"""Every option takes its own kinds of values, and refuses all others by name before anything is done."""

from __future__ import annotations

import fractions
import pathlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, ObjectOptions, SinkError
from mc_sink.sink import SinkOptions

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pl.DataFrame({"k": ["a", "b"] * 5, "x": range(10)})
CALLS = {"sink": mc_sink.sink_madconnect, "preview": mc_sink.preview, "stage": mc_sink.stage}
COUNTS: list[Any] = [0, -1, True, 1.5, 2.0, "10", b"1", float("nan"), 10**30, [1], np.float64(3), fractions.Fraction(3)]
FLAGS: list[Any] = ["no", "yes", 1, 0, [], np.True_, pl.col("k")]
NAMES: list[Any] = [b"k", {"k"}, {"k": 1}, 5, [1], [None], ["k", 5], pl.col("k"), iter(["k"]), FRAME]
TEXTS: list[Any] = [5, b"x", ["x"], pathlib.Path("x"), True, object()]
CHOICES: list[Any] = [None, "", "Fail", 1, True, [], pl.col("k"), pl.Series(["fail"])]
ODD: dict[str, list[Any]] = {
    "max_rows_per_file": COUNTS,
    "max_bytes_per_file": COUNTS,
    "row_group_size": [*COUNTS, 2**32],
    "min_rows": COUNTS[1:],
    "max_rejects": [True, "1", [], -1, 1.5, float("nan"), fractions.Fraction(1, 2)],
    "success_marker": [*FLAGS, None],
    "include_key": FLAGS,
    "progress": FLAGS,
    "manifest": [1, 0, "yes", "false", "Redshift", [], pl.col("k")],
    "partition_by": NAMES,
    "keys": NAMES,
    "run_id": [*TEXTS, "", "a/b"],
    "name": [*TEXTS, ""],
    "rejects": [5, b"x", ["x"], True],
    "on_invalid": CHOICES,
    "on_empty": CHOICES,
    "if_exists": CHOICES,
    "stale": CHOICES,
    "changes": CHOICES,
    "action_column": [*TEXTS, ""],
    "platform": [5, b"x", {}, True, ""],
    "encrypt": [5, "age1x", {"recipients": []}, True, mc_sink.Age],
    "object_options": [{"acl": "private"}, "private", 5, ObjectOptions],
    "storage_options": [[], "key=x", 5, {"key"}],
    "format": [5, b"csv", object(), "", "CSV", mc_sink.Csv],
    "preset": [5, b"excel", "", {}, mc_sink.Preset],
    "schema": [5, "", b"x", object(), "k" * 3_000],
    "previous": [5, b"x", "k" * 3_000, object()],
}
BESIDE: dict[str, dict[str, Any]] = {
    "include_key": {"partition_by": "k"},
    "max_rejects": {"on_invalid": "reject", "schema": "audience"},
    "rejects": {"on_invalid": "reject", "schema": "audience"},
    "stale": {"if_exists": "overwrite"},
    "keys": {"previous": FRAME},
    "changes": {"previous": FRAME, "keys": "x"},
    "action_column": {"previous": FRAME, "keys": "x"},
    "previous": {"keys": "x"},
}


def test_no_option_is_left_out() -> None:
    """Every option of a delivery stands in the table; targets have a table of their own."""
    assert set(ODD) == {field.name for field in fields(SinkOptions)} - {"target"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ODD)
def test_a_value_of_another_kind_is_refused_by_the_options_name(tmp_path: Path, call: str, name: str) -> None:
    """An error of this library's, by the option's name where it is about its kind; and nothing is written."""
    for value in ODD[name]:
        options = BESIDE.get(name, {}) | {name: value}
        with pytest.raises(SinkError) as raised:
            CALLS[call](FRAME, f"{tmp_path}/out/", **options)
        assert len(str(raised.value)) < 2_000, "a value is shown whole"
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("min_rows", True), ("success_marker", "no"), ("object_options", {"a": 1})]
)
def test_the_message_has_the_name_and_what_to_give(tmp_path: Path, name: str, value: Any) -> None:
    """A number, a bool and a value of this library: each says what it takes."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=rf"^Cannot use {name}=.*\. Give .*Nothing became visible"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_rows_per_file": np.int64(5)},
        {"row_group_size": np.uint32(5)},
        {"min_rows": 0},
        {"partition_by": []},  # a list that a program makes may be empty
        {"partition_by": ("k",)},
        {"run_id": None},  # the default, written out
        {"storage_options": {}},
        {"manifest": False},
        {"max_bytes_per_file": 2**63 - 1},
    ],
    ids=str,
)
def test_what_means_one_thing_alone_is_taken(tmp_path: Path, options: dict[str, Any]) -> None:
    """Whole numbers of numpy's, empty lists, and defaults that are written out."""
    assert mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **options).num_rows == FRAME.height
