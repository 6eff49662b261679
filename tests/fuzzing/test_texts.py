"""Generated targets, templates and connection files: each is accepted, or is an error of this library's.

`target()` steers Hypothesis towards texts that get further: those that are accepted, and those with more of the marks
that the parsers look for. The usual run takes seconds; `make test-long` gives each 10 minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies

import mc_sink
from mc_sink.connector.connections import inspect, load
from mc_sink.target import parse_target
from tests.support.fuzzing import SECONDS, examine, examine_for_minutes, outcome, steer

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 150
PIECES = [
    *(
        "s3://",
        "s3a://",
        "s3:",
        "file://",
        "file:",
        "ftp://",
        "sftp://",
        "http://",
        "gs://",
        "//",
        "/",
        "\\",
        "C:\\",
        "~",
    ),
    *(
        "./",
        "../",
        "..",
        ".",
        "-",
        "bucket",
        "my-bucket",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/x",
        "%",
        "%2F",
    ),
    *(
        "?x=y",
        "#f",
        "@",
        "user:pass@",
        "[::1]",
        ":80",
        " ",
        "\t",
        "\n",
        "\0",
        "\x1b[2J",
        "\u202e",
        "é",
        "\ud800",
        "*",
        "[a]",
    ),
    *(".csv", ".csv.gz", ".parquet", "name", "k=v", "x" * 300, "bucket.s3.amazonaws.com", "{run_id}", "{"),
]
TOKENS = [
    *(
        "{run_id}",
        "{part}",
        "{part:05d}",
        "{ext}",
        "{date}",
        "{time}",
        "{timestamp}",
        "{share}",
        "{share:05d}",
        "{k}",
        "{x}",
    ),
    *(
        "{",
        "}",
        "{{",
        "}}",
        "{}",
        "{0}",
        "{run_id!r}",
        "{part:d}",
        "{part:999999999d}",
        "{part:>5}",
        "{k:x}",
        "{date:%Y}",
    ),
    *(
        "{run_id.x}",
        "{run_id[0]}",
        "/",
        "//",
        "..",
        ".",
        "-",
        "_",
        "a",
        "é",
        "\0",
        "\n",
        "\ud800",
        "%",
        "x" * 300,
        "{date:",
    ),
]
TOML = [
    *(
        'target = "out/"',
        'target = "s3://my-bucket/p/"',
        "target = 5",
        "target = []",
        "[source]",
        "[[source]]",
        "[source.options]",
    ),
    *('files = "a.csv"', "files = []", 'query = "select 1"', 'function = "m:f"', 'function = ":"', 'uri_env = "A-B"'),
    *('database = "x"', "[schedule]", 'cron = "0 0 * * *"', 'cron = "@daily"', 'cron = "99 * * * *"', 'every = "0s"'),
    *('every = "5m"', 'timezone = "Mars"', "[hooks]", 'on_success = "m:f"', "on_failure = []", 'on_failure = ["a", 5]'),
    *(
        "[guard]",
        'max_change = "50%"',
        "max_change = nan",
        "max_change = inf",
        "min_rows = -1",
        "min_rows = true",
        "[format]",
    ),
    *(
        'type = "csv"',
        'type = "x"',
        'separator = "\\u0000"',
        "[object_options]",
        'acl = "x"',
        "tags = 5",
        "[storage_options]",
    ),
    *(
        'key = "x"',
        'secret = "y"',
        'endpoint_url = "x"',
        "client_kwargs = 5",
        'partition_by = ""',
        "partition_by = [[]]",
    ),
    *(
        'name = "{run_id}"',
        'name = "{"',
        'preset = "excel"',
        "preset = 5",
        'schema = "x:y"',
        'schema = "a.yaml"',
        "a.b.c = 1",
    ),
    *('"" = 1', "x = 1979-05-27", "x = 0x_", '"\\ud800" = 1', "=", '"""', "{", "}", "\0", "\ufeff", 'rejects = "r/"'),
    *('on_invalid = "reject"', 'run_id = "x"', 'platform = ""', 'platform = "none"', 'manifest = "redshift"'),
]


def texts(pieces: list[str], between: str = "") -> strategies.SearchStrategy[str]:
    """Return texts of these pieces, and of any characters."""
    one = strategies.sampled_from(pieces) | strategies.text(max_size=8)
    return strategies.lists(one, max_size=12).map(between.join)


def steered(text: str, pieces: list[str], got: int) -> None:
    """Steer towards texts that are accepted, and have many of the pieces."""
    steer(got * 100 + sum(piece in text for piece in pieces))


def try_target(text: str) -> None:
    """Parse a target; one that is accepted is written again as itself."""
    steered(text, PIECES, outcome(lambda: parse_target(text)))
    if outcome(lambda: parse_target(text)):
        found = parse_target(text)
        assert parse_target(found.url) == found


def try_template(text: str) -> None:
    """Resolve a template for several files and a partition, by the preview, which writes nothing."""
    options: dict[str, Any] = {"name": text, "partition_by": "k", "max_rows_per_file": 10, "format": "csv"}
    steered(text, TOKENS, outcome(lambda: mc_sink.preview(None, "s3://my-bucket/p/", **options)))


def try_connection(text: str) -> None:
    """Read a connection file, and resolve it."""
    file = Path("c.toml")
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    steered(text, TOML, outcome(lambda: inspect(load(file))))


WAYS: dict[str, tuple[strategies.SearchStrategy[str], Callable[[str], None]]] = {
    "targets": (texts(PIECES), try_target),
    "templates": (texts(TOKENS), try_template),
    "connection files": (
        texts(TOML, "\n") | texts(TOML, "\n").map(lambda text: f'target = "out/"\n{text}'),
        try_connection,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_text_breaks_the_parsers(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few texts of each kind."""
    monkeypatch.chdir(tmp_path)
    examine(*WAYS[way], FEW)


@pytest.mark.long
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("way", WAYS)
def test_no_text_breaks_the_parsers_in_ten_minutes(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of texts until the time is over."""
    monkeypatch.chdir(tmp_path)
    examine_for_minutes(*WAYS[way], 500)
