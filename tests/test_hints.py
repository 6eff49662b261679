"""Names and values that people bring from other libraries get an error that names the right one, or are accepted."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import Csv, ObjectOptions, Parquet, Platform
from mc_sink._hints import CSV, DELIVERY, PARQUET, STORAGE

if TYPE_CHECKING:
    from pathlib import Path

FRAME: Any = pl.DataFrame({"k": ["a", "b"], "x": [1, 2]})
OPTIONS = {
    "compression": 'Pass format="csv.gz", or format=Csv(compression=…) or Parquet(compression=…).',
    "separator": "Pass format=Csv(separator=…).",
    "delimiter": "Pass format=Csv(separator=…).",
    "overwrite": 'pass if_exists="overwrite".',
    "mode": 'pass if_exists="overwrite".',
    "partition_cols": "Did you mean 'partition_by'?",
    "filename": "Did you mean 'name'?",
    "storage_class": "Pass object_options=ObjectOptions(…)",
    "endpoint_url": "Pass it in storage_options.",
    "aws_access_key_id": "Pass storage_options: Did you mean 'key'?",
    "region": "Pass storage_options={'client_kwargs': {'region_name': …}}.",
    "partiton_by": "Did you mean 'partition_by'?",
}
IN_STORAGE = {
    "aws_access_key_id": "Did you mean 'key'?",
    "aws_secret_access_key": "Did you mean 'secret'?",
    "AWS_SESSION_TOKEN": "Did you mean 'token'?",
    "aws_endpoint_url": "Did you mean 'endpoint_url'?",
    "region": "Pass client_kwargs={'region_name': …}.",
    "aws_region": "Pass client_kwargs={'region_name': …}.",
    "aws_profile": "Did you mean 'profile'?",
    "verify": "Pass client_kwargs={'verify': …}.",
    "endpont_url": "Did you mean 'endpoint_url'?",
    "xyz": "It knows anon,",
}
FIELDS = [
    (Csv, "delimiter", "Did you mean 'separator'?"),
    (Csv, "sep", "Did you mean 'separator'?"),
    (Csv, "has_header", "Did you mean 'include_header'?"),
    (Csv, "na_rep", "Did you mean 'null_value'?"),
    (Csv, "seperator", "Did you mean 'separator'?"),
    (Parquet, "codec", "Did you mean 'compression'?"),
    (Parquet, "row_group_size", "Pass row_group_size to the delivery."),
    (ObjectOptions, "storageclass", "Did you mean 'storage_class'?"),
    (Platform, "acces_key_id", "Did you mean 'access_key_id'?"),
]
FORMATS = {"parqet": "parquet", "PARQUET": "parquet", "gzip": "csv.gz", "csv_gz": "csv.gz", "CSV": "csv"}
FRAMES = [
    (pl.Series("a", [1]), "pass series.to_frame()"),
    ({"a": [1]}, "pass polars.DataFrame(…) of it"),
    ([{"a": 1}], "pass polars.DataFrame(rows)"),
    ("data.csv", "pass polars.scan_csv(…)"),
    (None, "gives None in DuckDB: pass a query"),
]
SIZES = {"10B": 10, "1kB": 1_000, "256MB": 256_000_000, "256 MiB": 256 * 2**20, "1GiB": 2**30, "1.5kB": 1_500}


def deliver(target: Any, frame: Any = FRAME, **options: Any) -> mc_sink.Receipt:
    """Deliver, with options that type checkers would refuse."""
    return mc_sink.sink_madconnect(frame, target, progress=False, **options)


@pytest.mark.parametrize(("name", "advice"), OPTIONS.items())
def test_an_option_of_another_library_names_ours(name: str, advice: str, tmp_path: Path) -> None:
    """It is a TypeError, as for any unknown argument, and nothing is written."""
    with pytest.raises(TypeError) as caught:
        deliver(tmp_path / "x.csv", **{name: "gzip"})
    assert f"unexpected option {name!r}" in str(caught.value)
    assert advice in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "advice"), IN_STORAGE.items())
def test_a_storage_option_of_another_library_names_ours(name: str, advice: str) -> None:
    """The value, which may be a secret, isn't repeated."""
    with pytest.raises(mc_sink.ConfigurationError) as caught:
        deliver("s3://bucket/prefix/", storage_options={name: "CANARY"})
    assert advice in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name", "advice"), FIELDS)
def test_an_unknown_field_names_the_right_one(kind: Any, name: str, advice: str) -> None:
    """It stays the TypeError that Python raises for an unknown argument."""
    with pytest.raises(TypeError) as caught:
        kind(**{name: 1})
    assert str(caught.value) == f"{kind.__name__}() got an unexpected argument {name!r}. {advice}"


@pytest.mark.parametrize(("asked", "meant"), FORMATS.items())
def test_an_unknown_format_names_the_nearest(asked: str, meant: str, tmp_path: Path) -> None:
    """Also one that differs in capitals only."""
    with pytest.raises(mc_sink.ConfigurationError) as caught:
        deliver(f"{tmp_path}/", format=asked)
    assert f"Did you mean {meant!r}?" in str(caught.value)


@pytest.mark.parametrize(("value", "advice"), FRAMES)
def test_what_is_no_frame_says_how_to_make_one(value: object, advice: str, tmp_path: Path) -> None:
    """A Series, a mapping, rows as mappings, and the path of a file."""
    with pytest.raises(mc_sink.ConfigurationError) as caught:
        deliver(f"{tmp_path}/", value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(("text", "num_bytes"), SIZES.items())
def test_sizes_may_be_text(text: str, num_bytes: int, tmp_path: Path) -> None:
    """A file is as large as the number of bytes allows."""
    frame = pl.DataFrame({"x": range(50_000)})
    (tmp_path / "number").mkdir()
    (tmp_path / "text").mkdir()
    if num_bytes < 1_000:
        with pytest.raises(mc_sink.SinkError):
            deliver(f"{tmp_path}/text/", frame.with_columns(y=pl.lit("a" * 99)), format="csv", max_bytes_per_file=text)
        return
    by_number = deliver(f"{tmp_path}/number/", frame, format="csv", max_bytes_per_file=num_bytes)
    by_text = deliver(f"{tmp_path}/text/", frame, format="csv", max_bytes_per_file=text)
    assert [file.num_rows for file in by_text.files] == [file.num_rows for file in by_number.files]


@pytest.mark.parametrize("value", ["256 bananas", "MB", "", "-1MB", "0MB", "10"])
def test_other_texts_are_no_sizes(value: str, tmp_path: Path) -> None:
    """The message shows how a size is written."""
    with pytest.raises(mc_sink.ConfigurationError, match="max_bytes_per_file"):
        deliver(f"{tmp_path}/", max_bytes_per_file=value)


def test_a_mapping_of_object_options_is_shown_as_they_are_written() -> None:
    """Its names are repeated, and its values aren't."""
    with pytest.raises(mc_sink.ConfigurationError) as caught:
        deliver("s3://bucket/prefix/", object_options={"storage_class": "CANARY", "acl": "CANARY"})
    assert "Give ObjectOptions(storage_class=…, acl=…)." in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("token", ["{date}", "{run_id}", "{part:05d}", "{country}"])
def test_a_token_in_a_local_target_is_refused(token: str, tmp_path: Path) -> None:
    """It would be a folder of that name; one that is there may be meant."""
    with pytest.raises(mc_sink.TargetError, match="go into name="):
        deliver(f"{tmp_path}/{token}/")
    (tmp_path / token).mkdir()
    assert deliver(f"{tmp_path}/{token}/").num_rows == FRAME.height


def test_hints_name_what_is_there() -> None:
    """No hint names an option or a field that doesn't exist, and none is of a name that is right."""
    from mc_sink.sink.options import KINDS

    for kind, hints in ((Csv, CSV), (Parquet, PARQUET)):
        known = {field.name for field in fields(kind)}
        assert not known & set(hints)
        meant = {text.split("'")[1] for text in hints.values() if text.startswith("Did you mean")}
        assert meant <= known
    assert not set(KINDS) & set(DELIVERY)
    assert {text.split("'")[1] for text in DELIVERY.values() if text.startswith("Did you mean")} <= set(KINDS)
    assert not {"key", "secret", "token", "endpoint_url", "profile", "client_kwargs"} & set(STORAGE)
