"""A delivery never writes among the files that it reads: the next run would deliver its own output again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import deliver, inspect, load, rehearse
from tests.support.command_line import Machine
from tests.support.connection_files import write_connection

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pl.DataFrame({"id": range(5)})
READ_AGAIN = "would match the files of .* the next run would read the output of this one.*Nothing became visible"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with files in it, one reached by a link too, and stand in it."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("data/0", "data/1", "data/deep/2"):
        FRAME.write_csv(tmp_path / f"{name}.csv")
        FRAME.write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[str]:
    """List everything under a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# What is read, where it is to go, and whether that would be read again.
PLACES: list[tuple[str, str, bool]] = [
    ("data/*.csv", "data/", True),
    ("data/*.csv", "data/x.csv", True),
    ("data/*.csv", "link/x.csv", True),
    ("link/*.csv", "data/", True),
    ("data/[0-9].csv", "data/7.csv", True),
    ("data/[!7].csv", "data/7.csv", False),
    ("data/?.csv", "data/7.csv", True),
    ("data/?.csv", "data/77.csv", False),
    ("data/**/*.csv", "data/deep/", True),
    ("data/**/*.csv", "data/new/x.csv", True),
    ("**/*.csv", "other/", True),
    ("data/0.csv", "data/0.csv", True),
    ("data/0.csv", "data/x.csv", False),
    ("data/*.csv", "other/", False),
    ("data/*.csv", "data/deep/", False),
    ("data/*.parquet", "data/x.csv", False),
    ("data/deep/*.csv", "data/", False),
]


@pytest.mark.parametrize("kind", ["relative", "absolute"])
@pytest.mark.parametrize(("pattern", "target", "read_again"), PLACES)
def test_a_scan_and_its_target_are_kept_apart(
    folder: Path,
    pattern: str,
    target: str,
    read_again: Any,
    kind: str,
) -> None:
    """By the plan's own patterns, in a delivery, in a part and in a preview; and nothing is written."""
    pattern = pattern if kind == "relative" else f"{folder}/{pattern}"
    scan = (pl.scan_csv if pattern.endswith("csv") else pl.scan_parquet)(pattern).filter(pl.col("id") > 0)
    options: dict[str, Any] = {"if_exists": "overwrite", "format": "csv"}
    target = target.replace("data/new/", "./data/new/")
    before = files(folder)
    if not read_again:
        assert mc_sink.sink_madconnect(scan, target, **options).num_files == 1
        return
    for call in (mc_sink.sink_madconnect, mc_sink.stage, mc_sink.preview):
        with pytest.raises(ConfigurationError, match=READ_AGAIN):
            call(scan, target, **options)
    assert files(folder) == before


@pytest.mark.parametrize(("pattern", "target", "read_again"), PLACES)
def test_a_connections_source_and_its_target_are_kept_apart(
    folder: Path,
    pattern: str,
    target: str,
    read_again: Any,
) -> None:
    """By the pattern of the file, in `connections check`, a preview and a run."""
    file = load(
        write_connection(
            folder,
            target.replace("data/new/", "./data/new/"),
            'if_exists="overwrite"\nformat="csv"',
            f'files = "{pattern}"',
        )
    )
    before = files(folder)
    if not read_again:
        assert deliver(file).status == "delivered"
        return
    for call in (inspect, rehearse, deliver):
        with pytest.raises(ConfigurationError, match=READ_AGAIN):
            call(file)
    assert files(folder) == before


def test_send_and_a_folder_as_a_source_are_held_to_it_too(tmp_path: Path) -> None:
    """On the command line both are beside each other, and easily the same."""
    machine = Machine(tmp_path / "work", tmp_path / "state")
    (machine.folder / "data").mkdir(parents=True)
    FRAME.write_parquet(machine.folder / "data" / "0.parquet")
    for words in (
        ["data/*.parquet", "data/all.parquet"],
        [f"{machine.folder}/data/*.parquet", "data/", "--format", "parquet"],
    ):
        message = machine.mc_sink("send", *words, code=Code.CONFIGURATION).err
        assert "the next run would read the output of this one" in message
    assert files(machine.folder / "data") == ["0.parquet"]
    machine.mc_sink("send", "data/*.parquet", "data/all.csv")


def test_a_source_in_s3_and_its_target_are_kept_apart(tmp_path: Path) -> None:
    """By their URLs, before anything is asked of the store."""
    source = 'files = "s3a://bucket/p/**/*.csv"'
    with pytest.raises(ConfigurationError, match=READ_AGAIN):
        inspect(load(write_connection(tmp_path, "s3://bucket/p/q/", "", source)))
    assert inspect(load(write_connection(tmp_path, "s3://bucket/q/", "", source))) == "s3://bucket/q/"


@pytest.mark.parametrize(
    ("previous", "target", "read_again"),
    [
        ("other/*.csv", "other/", False),  # the changes go into folders of their own
        ("other/**/*.csv", "other/", True),
        ("data/*.csv", "data/x.csv", True),
        ("data/0.csv", "data/0.csv", True),
        ("data/0.csv", "data/x.csv", False),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_the_last_delivery_is_not_written_over(
    folder: Path,
    previous: str,
    target: str,
    read_again: Any,
    lazy: Any,
) -> None:
    """Given as a path, a pattern or a scan: it would be another one for the next run."""
    FRAME.write_csv(folder / "other" / "0.csv")
    given: dict[str, Any] = {"previous": pl.scan_csv(previous) if lazy else previous, "keys": "id"}
    given |= {"if_exists": "overwrite", "changes": "files" if target.endswith("/") else "column"}
    if not read_again:
        mc_sink.sink_madconnect(FRAME, target, **given)
        return
    for call in (mc_sink.sink_madconnect, mc_sink.preview):
        with pytest.raises(ConfigurationError, match="files of previous="):
            call(FRAME, target, **given)


def test_rejects_are_kept_apart_from_the_source(folder: Path) -> None:
    """They would come back as rows, with columns that no row has."""
    scan = pl.scan_parquet("data/*.parquet")
    with pytest.raises(ConfigurationError, match=r"rejects\.parquet .*match the files of the frame"):
        mc_sink.sink_madconnect(scan, "other/", schema="audience", on_invalid="reject", rejects="data/")
    assert files(folder / "other") == []


@pytest.mark.parametrize("key", ["never-shown-in-a-plan"])
@pytest.mark.usefixtures("folder")
def test_what_a_plan_shows_only_in_part_is_let_be(key: str) -> None:
    """Frames in memory and Python functions are not copied to look for paths; their plans are delivered as before."""
    scan = pl.scan_csv("data/*.csv")
    joined = scan.join(pl.LazyFrame({"id": [1, 2]}), on="id")
    called = scan.map_batches(lambda frame: frame)
    for frame in (joined, called, FRAME, FRAME.lazy(), FRAME.to_arrow()):
        assert mc_sink.sink_madconnect(frame, f"data/{id(frame)}.csv").num_files == 1
    remote = pl.scan_parquet("s3://bucket/p/*.parquet", storage_options={"aws_secret_access_key": key})
    with pytest.raises(Exception) as raised:  # noqa: PT011  the query's own, of any type
        mc_sink.sink_madconnect(remote, "data/x.csv")
    assert key not in str(raised.value)
