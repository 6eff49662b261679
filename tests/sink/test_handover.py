"""The page for the receiver: its commands and statements are run on what was delivered."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, Platform, platforms
from mc_sink.report import CodeBlock, ReceiverPage, receiver_html
from mc_sink.sink import SinkOptions, Wishes, page_for, resolve
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN
from tests.support.report_pages import ReportPage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

CELL = "CanaryCell-4711"
FRAME = pl.DataFrame({"id": range(10), "c|`x_": ["a", CELL] * 5})


def codes(page: ReceiverPage, language: str) -> list[str]:
    """Return the code of a page in one language, as a reader of the Markdown finds it."""
    found = [block.text for one in page.sections for block in one.blocks if isinstance(block, CodeBlock)]
    blocks = [block.partition("\n") for block in str(page).split("\n\n```")[1:]]
    shown = [text.partition("\n```")[0] for kind, _, text in blocks if kind == language]
    assert set(shown) <= set(found)
    return shown


def fetched(store: FaultServer, prefix: str, folder: Path) -> Path:
    """Copy what is under a prefix to a folder, as `aws s3 cp --recursive` does."""
    for key in store.listing(store.bucket, prefix):
        place = folder / key.removeprefix(prefix)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(store.read(store.bucket, key))
    return folder


def test_the_commands_check_what_was_delivered(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Each line prints the checksum of the manifest; the program finds a changed byte and a cut file."""
    options: dict[str, Any] = {"max_rows_per_file": 4, "format": "csv.gz", "run_id": "r-1", "progress": False}
    options["storage_options"] = fault_s3.storage_options
    target = f"s3://{fault_s3.bucket}/p/"
    page = mc_sink.handover(FRAME, target, **options)
    mc_sink.sink_madconnect(FRAME, target, **options)
    folder = fetched(fault_s3, "p/", tmp_path / "copy")
    manifest = folder / "_manifests" / "r-1.json"
    listed = json.loads(manifest.read_text("utf-8"))["files"]
    assert f"`{target}_manifests/r-1.json`" in str(page)
    assert len(listed) == 3
    (commands,) = codes(page, "console")
    for file in listed:
        name = file["path"].removeprefix(target)
        for command in commands.splitlines():
            ran = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command.replace("FILE", name)],  # noqa: S607
                cwd=folder, check=True, capture_output=True, text=True,
            )  # fmt: skip
            assert ran.stdout.strip() == file["checksum"], command
    (program,) = codes(page, "python")
    (tmp_path / "check.py").write_text(program, "utf-8")
    check = [sys.executable, str(tmp_path / "check.py"), str(manifest), str(folder)]
    assert subprocess.run(check, capture_output=True, text=True, check=True).stdout == "3 files, 0 wrong\n"
    changed = folder / listed[1]["path"].removeprefix(target)
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    wrong = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, f"wrong: {changed}\n3 files, 1 wrong\n")


def test_the_statement_loads_what_is_delivered(tmp_path: Path) -> None:
    """It was written before the delivery, by the columns and names alone."""
    spec = resolve(SinkOptions(target=f"{tmp_path}/out/", preset="snowflake", run_id="r-1", max_rows_per_file=4))
    page = page_for(FRAME.lazy(), spec, Wishes(table="people", dialect="duckdb"))
    mc_sink.sink_madconnect(
        FRAME, f"{tmp_path}/out/", preset="snowflake", run_id="r-1", max_rows_per_file=4, progress=False
    )
    (statement,) = codes(page, "sql")
    with duckdb.connect() as database:
        database.execute(statement)
        assert sorted(database.sql("FROM people").fetchall()) == sorted(FRAME.rows())


def test_policies_and_the_rule_are_those_of_the_commands() -> None:
    """They are whole JSON documents, for the AWS CLI."""
    options = mc_sink.ObjectOptions(tags={"a": "b"})
    spec = resolve(SinkOptions(target="s3://bucket/p/", object_options=options))
    documents = codes(page_for(None, spec, Wishes(principal="123456789012")), "json")
    assert [json.loads(text) for text in documents] == [
        platforms.policy("s3://bucket/p/", also=["s3:PutObjectTagging"]),
        platforms.bucket_policy("s3://bucket/p/", "123456789012"),
        platforms.lifecycle("s3://bucket/p/"),
    ]


def test_nothing_secret_is_on_it() -> None:
    """Neither the key of the options or a platform, nor a cell, nor markup that a name smuggles in."""
    options = {"key": KEY, "secret": SECRET, "token": TOKEN}
    saved = Platform(name="acme", access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN)
    hostile = FRAME.rename({"id": "<img src=x>\x1b[2J"})
    for page in (
        mc_sink.handover(hostile, "s3://bucket/p/", storage_options=options, partition_by="c|`x_"),
        mc_sink.handover(hostile, "s3://bucket/p/", platform=saved, preset="redshift"),
    ):
        html = receiver_html(page)
        for text in (str(page), html, repr(page)):
            assert not [one for one in (*CANARIES, CELL) if one in text]
        assert "\x1b" not in str(page) + html
        assert "<img" not in html
        assert "\\<img" in str(page)
        assert "What arrives" in ReportPage(html).text


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "No receiver is named that has a load statement"),
        ({"preset": "snowflake"}, "mc-sink show RUN_ID --load"),
        ({"manifest": False, "max_rows_per_file": 5}, "ask the sender which files belong to a delivery"),
        ({"manifest": False, "run_id": "r"}, "it is whole when the file is there"),
        ({"success_marker": True}, "The success marker is written last of all"),
        ({"if_exists": "overwrite"}, "may replace objects of an earlier one"),
        ({"manifest": "redshift", "max_rows_per_file": 5}, "The sender's receipt has the size and the CRC32"),
    ],
)
def test_the_page_says_what_these_options_come_to(options: dict[str, Any], shown: str) -> None:
    """Without a frame, it has no columns."""
    assert shown.replace("_", "\\_") in str(mc_sink.handover(None, "s3://bucket/p/", **options))


def test_a_receiver_that_cannot_read_it_is_said() -> None:
    """The reason of the refusal is on the page, and a wrong option is an error."""
    page = mc_sink.handover(pl.DataFrame({"id": [1], "x": [1]}), "s3://bucket/p/", preset="bigquery", partition_by="id")
    assert "it needs the URL of every file" in str(page)
    with pytest.raises(TypeError, match="unexpected option"):
        mc_sink.handover(None, "s3://bucket/p/", prefix="x")  # type: ignore[call-arg]
    spec = resolve(SinkOptions(target="s3://bucket/p/"))
    with pytest.raises(ConfigurationError, match="redshift"):
        page_for(FRAME, spec, Wishes(dialect="redshfit"))
