"""A preset's dialect, whatever the ways of saying a format: what changes only the compression or a name keeps it."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.polars as pandera
import polars as pl
import pytest

import mc_sink
from mc_sink import PRESETS, Csv, LimitError, Parquet
from mc_sink.connector.connections import deliver, load
from tests.support.command_line import Machine

if TYPE_CHECKING:
    from pathlib import Path

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
FRAME = pl.DataFrame(
    {"s": [None, "", "=1+1"] * 10, "t": pl.Series([WHEN] * 30, dtype=pl.Datetime("us", "UTC")), "n": [1, None, 3] * 10}
)
SCHEMA = pandera.DataFrameSchema({"s": pandera.Column(pl.String, nullable=True)}, strict=False)
CSVS = [name for name, preset in PRESETS.items() if isinstance(preset.format, Csv)]
OWN = replace(
    PRESETS["excel"], name="own", format=Csv(separator=";", null_value="NULL", compression="gzip", compression_level=3)
)
# Names and run ids of receivers that take no others.
NAMED: dict[str, dict[str, Any]] = {
    "nielsen": {"name": "acme_exposure_1_P1_2_{run_id}-{part}{ext}", "run_id": "3"},
    "audience_manager": {"name": "ftp_dpm_21_{run_id}.sync.{part}", "run_id": "1366545717"},
}
# Ways of saying that files are CSV, compressed or not: the target's end, and options.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "the name": ("x.{0}", {}),
    "the name in capitals": ("X.{1}", {}),
    "format=": ("", {"format": "{0}"}),
    "both": ("x.{0}", {"format": "{0}"}),
    "format= of another name": ("x.dat", {"format": "{0}"}),
    "name=": ("", {"name": "{{run_id}}-{{part}}.{0}"}),
    "name= and format=": ("", {"name": "{{run_id}}-{{part}}{{ext}}", "format": "{0}"}),
}


def text(path: str) -> bytes:
    """Read a file, decompressed."""
    with open(path, "rb") as file:  # noqa: PTH123  a path as a receipt has it
        data = file.read()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def delivered(target: str, **options: Any) -> bytes:
    """Deliver, and give the text of the first file."""
    return text(mc_sink.sink_madconnect(FRAME, target, manifest=False, progress=False, **options).files[0].path)


def message(way: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Give a way of saying a format, for one kind of file."""
    end, options = WAYS[way]
    return end.format(kind, kind.upper()), {name: value.format(kind) for name, value in options.items()}


def test_there_are_presets_to_ask() -> None:
    """Those that write CSV of their own accord."""
    warehouses_and_others = ["liveramp", "adobe", "redshift", "snowflake", "excel"]
    platforms = ["data_360", "marketing_cloud", "google_ads", "amc", "braze", "tealium", "monetate", "digital_audience"]
    assert [*warehouses_and_others, *platforms, "audience_manager"] == CSVS


@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("preset", [*CSVS, OWN], ids=str)
def test_the_dialect_stays_whatever_says_the_format(tmp_path: Path, preset: Any, way: str, kind: str) -> None:
    """The text is that of the preset alone, compressed or not, and a preview and the manifest say so."""
    end, options = message(way, kind)
    if preset in {"google_ads", "tealium", "audience_manager"}:  # which take few names, and not both kinds
        preset = replace(PRESETS[preset], limits=())
    usual = delivered(f"{tmp_path}/usual/", preset=preset)
    assert delivered(f"{tmp_path}/{end}", preset=preset, **options) == usual
    seen = mc_sink.preview(FRAME, f"{tmp_path}/p/{end}", preset=preset, manifest=False, **options).format
    ours: Any = PRESETS[preset].format if isinstance(preset, str) else preset.format
    assert isinstance(seen, Csv)
    assert seen.extension == f".{kind}"
    assert replace(seen, compression="uncompressed", compression_level=None) == replace(
        ours, compression="uncompressed", compression_level=None
    )


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {*CSVS, "nielsen"}))
def test_a_preset_of_parquet_keeps_its_own(tmp_path: Path, preset: Any) -> None:
    """Parquet that is named, in a suffix or an option, is the preset's; CSV is its dialect of CSV."""
    ways: list[tuple[str, Any]] = [
        ("x.parquet", {}),
        ("", {"format": "parquet"}),
        ("", {"name": "{run_id}-{part}.parquet"}),
    ]
    for end, options in ways:
        assert mc_sink.preview(FRAME, f"{tmp_path}/{end}", preset=preset, **options).format == PRESETS[preset].format
    (csv,) = PRESETS[preset].other_formats
    assert isinstance(csv, Csv)
    for end in ("x.csv", "x.csv.gz"):
        seen = mc_sink.preview(None, f"{tmp_path}/{end}", preset=preset).format
        assert seen == replace(csv, compression="gzip" if end.endswith("gz") else "uncompressed")


def test_a_connection_and_the_command_line_keep_it(tmp_path: Path) -> None:
    """By a target's suffix, a key of the file, and a flag."""
    machine = Machine(tmp_path / "work", tmp_path / "state")
    machine.folder.mkdir()
    FRAME.write_parquet(machine.folder / "in.parquet")
    usual = delivered(f"{tmp_path}/usual/", preset="excel")
    file = machine.folder / "c.toml"
    source = '\npreset = "excel"\nmanifest = false\n[source]\nfiles = "in.parquet"\n'
    for target in (
        'target = "x.csv.gz"',
        'target = "out/"\nformat = "csv.gz"',
        'target = "o/"\nname = "{run_id}-{part}.csv.gz"',
    ):
        file.write_text(target + source, encoding="utf-8")
        assert text(deliver(load(file)).files[0].path) == usual
    for number, words in enumerate((["a.csv.gz"], ["sent/", "--format", "csv.gz"])):
        run = machine.here(
            "send",
            machine.folder / "in.parquet",
            f"{tmp_path}/{number}/{words[0]}",
            *words[1:],
            "--set",
            "preset=excel",
            "--json",
        )
        assert text(run.json()["files"][0]["path"]) == usual


def test_previews_and_dry_runs_print_the_dialect_in_force(tmp_path: Path) -> None:
    """A person reads what isn't as usual, a program all of it."""
    machine = Machine(tmp_path / "work", tmp_path / "state")
    machine.folder.mkdir()
    FRAME.write_parquet(machine.folder / "in.parquet")
    words = [
        "send",
        machine.folder / "in.parquet",
        "./out/",
        "--format",
        "csv.gz",
        "--set",
        "preset=excel",
        "--dry-run",
    ]
    shown = machine.here(*words).out
    assert (
        r"Csv(line_terminator='\r\n', include_bom=True, datetime_format='iso', formulas='escape', compression='gzip')"
        in shown
    )
    assert "preset      excel" in shown
    facts = json.loads(machine.here(*words, "--json").out)
    assert (facts["preset"], facts["format"], facts["lost"]) == ("excel", "csv.gz", [])
    assert facts["dialect"]["formulas"] == "escape"


@pytest.mark.parametrize(
    ("format", "lost"),
    [
        (Csv(), ("line_terminator='\\r\\n'", "include_bom=True", "datetime_format='iso'", "formulas='escape'")),
        (
            Csv(formulas="escape", include_bom=True, separator=";"),
            ("line_terminator='\\r\\n'", "datetime_format='iso'"),
        ),
        (replace(PRESETS["excel"].format, separator=";", compression="gzip"), ()),  # type: ignore[type-var]
        ("csv.gz", ()),
    ],
    ids=str,
)
def test_a_format_of_ones_own_is_taken_as_it_is_and_what_it_leaves_out_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, format: Any, lost: tuple[str, ...]
) -> None:
    """In a preview, and as a warning in the log of the run."""
    seen = mc_sink.preview(FRAME, f"{tmp_path}/", preset="excel", format=format)
    assert seen.lost == lost
    assert ("lost" in str(seen)) == bool(lost)
    if not isinstance(format, str):
        assert seen.format == format
    with caplog.at_level(logging.WARNING, "mc_sink"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", preset="excel", format=format, progress=False)
    assert [option for option in lost if option not in caplog.text] == []
    assert ("leaves out" in caplog.text) == bool(lost)


def test_each_preset_has_a_dialect_for_each_kind_of_file_or_refuses_it(tmp_path: Path) -> None:
    """No kind of file gets options that the receiver's documents don't support."""
    refusing = set()
    for name, preset in PRESETS.items():
        for kind in ("csv", "csv.gz", "parquet"):
            asked: Any = {"format": kind, "preset": name, "manifest": False} | NAMED.get(name, {})
            dialects = [one for one in preset.dialects if one.extension.startswith(f".{kind[:3]}")]
            if dialects and (name, kind) not in {("google_ads", "csv.gz"), ("tealium", "csv.gz")}:
                seen: Any = mc_sink.preview(FRAME.select("s", "n"), f"{tmp_path}/", **asked).format
                usual: Any = dialects[0]
                assert seen in {usual, usual if kind == "parquet" else replace(usual, compression=seen.compression)}
            else:
                refusing.add(name)
                with pytest.raises(LimitError, match='breaks "format"'):
                    mc_sink.sink_madconnect(FRAME.select("s", "n"), f"{tmp_path}/", **asked)
    of_csv = {"marketing_cloud", "google_ads", "tealium", "monetate", "digital_audience", "audience_manager"}
    assert refusing == {"liveramp", "excel", "nielsen"} | of_csv
    with pytest.raises(LimitError, match='breaks "format"'):
        mc_sink.preview(FRAME, f"{tmp_path}/", preset="excel", format=Parquet())
    assert not list(tmp_path.iterdir())


def test_times_are_written_as_each_receiver_parses_them(tmp_path: Path) -> None:
    """Every CSV has a colon in the offset from UTC, and Hive's readers get a space before the time."""
    frame = FRAME.select("t", naive=pl.col("t").dt.replace_time_zone(None))
    for name, preset in PRESETS.items():
        asked: Any = {"format": "csv", "preset": name, "manifest": False, "progress": False} | NAMED.get(name, {})
        if name in {"nielsen", "google_ads"}:  # one takes no CSV, the other no time without a zone
            with pytest.raises(mc_sink.ConfigurationError, match=r'breaks "format"|no time zone'):
                mc_sink.sink_madconnect(frame, f"{tmp_path}/{name}/", **asked)
            continue
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/{name}/", **asked)
        line = text(receipt.files[0].path).decode().splitlines()[preset.format != PRESETS["audience_manager"].format]
        cells = line.replace('"', "").replace("\t", ",").split(",")
        spaced = {"redshift", "snowflake", "bigquery", "athena", "excel", "clickhouse", "databricks", "marketing_cloud"}
        strict = " " if name in spaced else "T"
        assert cells[0].endswith("+00:00")
        assert cells[1].startswith(f"2026-01-02{strict}03:04:05")
        assert preset.dialects[0] is preset.format


def test_no_file_but_the_data_is_where_the_receiver_takes_every_file(tmp_path: Path) -> None:
    """Neither a manifest nor a marker nor rejected rows; one that is asked for is refused, with nothing visible."""
    for name in ("liveramp", "adobe", "nielsen", "braze"):
        options: dict[str, Any] = {"preset": name, "max_rows_per_file": 30, "progress": False} | NAMED.get(name, {})
        receipt = mc_sink.sink_madconnect(pl.concat([FRAME] * 3), f"{tmp_path}/{name}/", **options)
        assert receipt.num_files == 3
        assert len([path for path in (tmp_path / name).rglob("*") if path.is_file()]) == 3
        asked: list[dict[str, Any]] = [
            {"manifest": True},
            {"success_marker": True},
            {"on_invalid": "reject", "schema": SCHEMA, "rejects": f"{tmp_path}/x{name}/r/"},
        ]
        for wrong in asked:
            with pytest.raises(LimitError, match=r'1 file .* breaks "other files"'):
                mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x{name}/", **options, **wrong)
        assert not (tmp_path / f"x{name}").exists()
