"""Names: what a template makes of a run id, and what is refused as text before anything is opened."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import pytest

import mc_sink
from mc_sink import ConfigurationError, TargetError
from mc_sink.keys import FileNames, parse_template
from mc_sink.target import parse_target
from mc_sink.testing import sample

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

RUN_ID = "20261122T101530Z-4f2a9c"
PREFIX = "s3://bucket/p/"
FRAME = sample("audience", 10).collect()
PAGE = (Path(__file__).parents[2] / "docs" / "names.md").read_text(encoding="utf-8")


def names(template: str | None = None, run_id: str = RUN_ID, *, target: str = PREFIX, **how: Any) -> FileNames:
    """Make checked names; `columns`, `schema`, `splits`, `overwrites` and `extension` as they come."""
    columns, splits = tuple(how.get("columns", ())), how.get("splits", False)
    made = FileNames(
        parse_target(target),
        run_id,
        how.get("extension", ".csv"),
        is_numbered=splits or bool(columns),
        template=None if template is None else parse_template(template, columns),
        columns=columns,
        schema=how.get("schema"),
    )
    made.check(overwrites=how.get("overwrites", False), splits=splits)
    return made


def table(heading: str) -> list[list[str]]:
    """Give the rows of the table under a heading of the page, cell by cell."""
    lines = PAGE.split(heading)[1].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell: str) -> list[str]:
    """Give what stands in a cell as code."""
    return re.findall("`([^`]+)`", cell)


def arguments(cell: str) -> dict[str, Any]:
    """Read the arguments of a delivery that stand in a cell."""
    call = ast.parse(f"dict({''.join(code(cell))})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(given.arg): ast.literal_eval(given.value) for given in call.keywords}


EXAMPLES = [(*code(row[0])[:1], arguments(row[1]), *code(row[2])) for row in table("## Examples")]
PARTITIONED = [(*code(row[0])[:1], *code(row[1])) for row in table("In partitions")]
REFUSED = [template for row in table("## What is refused") for template in code(row[0])]


def test_the_page_has_its_examples() -> None:
    """The tables are found, and are as long as they are meant to be."""
    assert (len(EXAMPLES), len(PARTITIONED), len(REFUSED)) == (13, 4, 22)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[-1])
def test_the_examples_of_the_page_are_true(tmp_path: Path, example: tuple[Any, ...]) -> None:
    """A delivery with these arguments makes that file first."""
    *template, given, key = example
    given = {"run_id": RUN_ID, "name": template[0] if template else None} | given
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **given)
    assert receipt.files[0].path == f"{tmp_path}/{key}"
    assert (tmp_path / key).is_file()


@pytest.mark.parametrize("example", PARTITIONED, ids=lambda example: example[-1])
def test_the_examples_of_partitions_are_true(example: tuple[str, ...]) -> None:
    """Folders are put before the name, unless the template names the columns."""
    *template, key = example
    made = names(template[0] if template else None, columns=["country", "plan"])
    file = made.file(0, "country=US/plan=pro/", {"country": "US", "plan": "pro"})
    assert file.url == PREFIX + key
    assert file.url.startswith(made.stem.url)
    assert made.of_this_run(frozenset([file.url, f"{PREFIX}country=US/plan=pro/other.csv"])) == {file.url}


@pytest.mark.parametrize("template", REFUSED)
def test_what_the_page_says_is_refused_is(fault_s3: FaultServer, template: str) -> None:
    """Each is a ConfigurationError of the delivery itself, which sends nothing."""
    splits = 5 if "{part" in template else None
    with pytest.raises(ConfigurationError, match=r"name|token"):
        mc_sink.sink_madconnect(
            FRAME,
            fault_s3.writer.target("p/"),
            name=template,
            run_id=RUN_ID,
            max_rows_per_file=splits,
            storage_options=fault_s3.storage_options,
        )
    assert fault_s3.log.ops() == []


MESSAGES = {
    "nearest": ({"template": "{run-id}{ext}"}, "Did you mean {run_id}?"),
    "nearest column": ({"template": "{run_id}/{contry}{ext}", "columns": ["country"]}, "Did you mean {country}?"),
    "none near": (
        {"template": "{customer}{ext}"},
        "Use {run_id}, {timestamp}, {date}, {schema}, {share}, {part}, {ext}",
    ),
    "no name": ({"template": "{}{ext}"}, "{} in name='{}{ext}' is not a token"),
    "attribute": ({"template": "{run_id.hex}{ext}"}, "is not a token"),
    "conversion": ({"template": "{run_id!r}{ext}"}, "can't have a conversion"),
    "open brace": ({"template": "{run_id{ext}"}, "brace"),
    "single brace": ({"template": "{run_id}}{ext}"}, "brace"),
    "nothing": ({"template": ""}, "is not a template"),
    "format of text": ({"template": "{run_id:>30}{ext}"}, "can't have a format"),
    "nested format": ({"template": "{run_id}-{part:{ext}}"}, "{part:05d}"),
    "negative width": ({"template": "{run_id}-{part:-5d}"}, "{part:05d}"),
    "wide": ({"template": "{run_id}-{part:010d}"}, "01d to 09d"),
    "no directive": ({"template": "{date:YYYY-MM-DD}/{run_id}"}, "Write {date:%Y-%m-%d}"),
    "hours of a date": ({"template": "{date:%Y%m%d%H}/{run_id}"}, "Use {timestamp:%Y%m%d%H}"),
    "names of months": ({"template": "{timestamp:%d%B}/{run_id}"}, "can't have %B. Use %Y"),
    "percent": ({"template": "{timestamp:%Y%}/{run_id}"}, "can't have %. Use %Y"),
    "no time": ({"template": "{run_id}-{date}{ext}", "run_id": "nightly"}, "20261122T101530Z-nightly"),
    "no such time": ({"template": "{date}/{run_id}{ext}", "run_id": "20261322T101530Z"}, "doesn't start with one"),
    "no run id": ({"template": "{date}{ext}"}, 'run_id="20261122"'),
    "no part": ({"template": "{run_id}{ext}", "splits": True}, "Add {part:05d}"),
    "no part in overwrite": ({"template": "all{ext}", "splits": True, "overwrites": True}, "Add {part:05d}"),
    "some columns": ({"template": "{a}/{run_id}{ext}", "columns": ["a", "b"]}, "differ only in b"),
    "both": ({"template": "{date}/{run_id}{ext}", "columns": ["date"]}, "{timestamp:%Y-%m-%d}"),
    "no schema": ({"template": "{schema}/{run_id}{ext}"}, "Give a schema="),
    "schema with a slash": ({"template": "{schema}/{run_id}{ext}", "schema": "a/b"}, "slash"),
    "schema with a brace": ({"template": "{schema}/{run_id}{ext}", "schema": "a{b"}, "advises against"),
    "hidden schema": ({"template": "{schema}/{run_id}{ext}", "schema": "_feed"}, "Spark"),
    "hidden run id": ({"template": None, "run_id": "_nightly"}, "Spark"),
    "no Unicode": ({"template": "{run_id}\ud800{ext}"}, "not valid Unicode"),
    "control character": ({"template": "a\n{run_id}{ext}"}, "advises against"),
    "one file": ({"template": "{run_id}{ext}", "target": "s3://bucket/p/x.csv"}, "deliver to s3://bucket/p/"),
}


@pytest.mark.parametrize(("how", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_a_refusal_says_what_to_do(how: dict[str, Any], expected: str) -> None:
    """The message has the nearest right token, the way out, or the reason."""
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        names(**how)


BLURRED = [
    "{run_id}{part:05d}",
    "{part:05d}{run_id}",
    "{run_id}0{part}",
    "{run_id}{timestamp:%H%M}{part}",
    "{a}-{run_id}",
    "{run_id}-{a}",
    "{run_id}.x.{a}",
    "{run_id}-{part:05d}-{a}",
    "{run_id}-{run_id}-{part}{a}",
]
APART = [
    "{run_id}-{part:05d}",
    "{part}-{run_id}",
    "{run_id}x{part}",
    "{run_id}-{timestamp:%H%M}{part}",
    "{run_id}{timestamp:%H-%M}{part}",
    "{run_id}/{part}",
    "{run_id}{timestamp:%Y/%m}{part}",
    "{a}/{run_id}",
    "{a}={run_id}",
    "{run_id}={a}",
    "{run_id}/{a}-{part}",
    "{run_id}/{a}/{run_id}-{a}-{part}",
    "{run_id}={a}-{part}",
]


@pytest.mark.parametrize("template", BLURRED)
def test_tokens_that_run_into_each_other_are_refused(template: str) -> None:
    """Where a name could be read in two ways, two files could have it."""
    with pytest.raises(ConfigurationError, match="its tokens can't be separated"):
        names(template, columns=["a"] if "{a}" in template else [], splits="{part" in template)


@pytest.mark.parametrize("template", APART)
def test_tokens_that_can_be_told_apart_may_stand_together(template: str) -> None:
    """A character that can't be a token's own ends it, in one folder's name or in another's."""
    names(template, columns=["a"] if "{a}" in template else [], splits="{part" in template)


@pytest.mark.parametrize(
    ("several", "name", "manifest"),
    [(False, f"{RUN_ID}.csv", f"_manifests/{RUN_ID}.json"), (True, f"{RUN_ID}-00007.csv", f"_manifests/{RUN_ID}.json")],
)
def test_names_without_a_template(several: bool, name: str, manifest: str) -> None:  # noqa: FBT001  a row of the table
    """The run id, a number where there may be several, the extension whole; the manifest in its folder."""
    made = names(splits=several)
    assert made.file(7).url == PREFIX + name
    assert made.manifest.url == PREFIX + manifest
    assert made.stem.url == PREFIX + RUN_ID


def test_a_number_outgrows_its_width() -> None:
    """No file is lost for want of digits."""
    assert names(splits=True).file(123_456).path == f"p/{RUN_ID}-123456.csv"
    assert names("{run_id}-{part:02d}{ext}", splits=True).file(100).path == f"p/{RUN_ID}-100.csv"


STEMS = {
    "{run_id}{ext}": RUN_ID,
    "{date}/x-{run_id}-{part:05d}{ext}": f"2026-11-22/x-{RUN_ID}-",
    "x/{part}-{run_id}{ext}": "x/",
    "{a}/{run_id}{ext}": "",
    "x/{run_id}{ext}": "",
}


@pytest.mark.parametrize(("template", "stem"), STEMS.items())
def test_all_names_of_a_run_begin_with_the_stem(template: str, stem: str) -> None:
    """It goes as far as the first thing that differs; with folders of partitions before the name it is the prefix."""
    columns = ["a"] if "{a}" in template or template.startswith("x/{run_id}") else []
    made = names(template, columns=columns, splits="{part" in template)
    assert made.stem.path == f"p/{stem}"
    folder = "a=1/" if columns else ""
    assert all(made.file(part, folder, {"a": "1"}).path.startswith(f"p/{stem}") for part in (0, 10**6))


OTHERS = [
    "a-10.csv",
    "a-1.b.csv",
    "a-1",
    "a-1-7.csv",
    "b-a-1.csv",
    "a-1-00000-00000.csv",
    "x/a-1.csv",
    "a-1.rejects.csv",
]


def test_a_run_knows_its_files_in_any_format_and_number() -> None:
    """An earlier attempt with other options is found; run "a-1" is not run "a-10"."""
    own = frozenset(
        PREFIX + name for name in ("a-1.csv", "a-1.parquet", "a-1.csv.gz", "a-1-00000.csv", "a-1-123456.csv")
    )
    listing = own | {PREFIX + name for name in OTHERS}
    for several in (False, True):
        assert names(run_id="a-1", splits=several).of_this_run(listing) == own


def test_a_run_called_like_a_numbered_file_leaves_that_alone() -> None:
    """The first of run "a-1"'s files is none of run "a-1-00000"'s, where that has several."""
    own = frozenset([f"{PREFIX}a-1-00000-00000.csv"])
    assert names(run_id="a-1-00000", splits=True).of_this_run(own | {f"{PREFIX}a-1-00000.csv"}) == own


@pytest.mark.parametrize("target", ["s3://bucket/./", "/data/out/", "/data/out /", "sftp://host/out/"])
def test_files_are_known_wherever_they_are(target: str) -> None:
    """In the root of a bucket, on a disk and on another filesystem, a URL is that of its file."""
    made = names("{date}/{run_id}-{part}{ext}", target=target, splits=True)
    urls = frozenset(made.file(part).url for part in range(3))
    assert made.of_this_run(urls | {made.target.file("other.csv").url}) == urls
    assert made.pattern == made.file(0).url.replace("-0.csv", "-{part}.csv")


def test_a_key_is_measured_with_the_longest_number() -> None:
    """A prefix that is too long is refused before the run, not by its hundred thousandth file."""
    room = 1024 - len(f"{'k' * 900}/{RUN_ID}-{'9' * 10}.csv")
    names(target=f"s3://bucket/{'k' * 900}{'k' * room}/", splits=True)
    with pytest.raises(TargetError, match="1,025 bytes, and S3 accepts at most 1,024"):
        names(target=f"s3://bucket/{'k' * 901}{'k' * room}/", splits=True)
    names(target=f"/{'k' * 901}{'k' * room}/", splits=True)


VALUES = {"a/b": "slash", "": "has no text", "__HIVE_DEFAULT_PARTITION__": "Spark", "a#b": "advises against"}


@pytest.mark.parametrize(("value", "expected"), VALUES.items())
def test_a_value_that_can_not_stand_in_a_name_is_refused(value: str, expected: str) -> None:
    """Values come during the run; nothing is visible then, and the message says so."""
    made = names("{a}/{run_id}{ext}", columns=["a"])
    with pytest.raises(ConfigurationError, match=f"(?s){expected}.*Nothing became visible"):
        made.file(0, values={"a": value})
    null = names("a={a}/{run_id}{ext}", columns=["a"]).file(0, values={"a": "__HIVE_DEFAULT_PARTITION__"})
    assert null.path == f"p/a=__HIVE_DEFAULT_PARTITION__/{RUN_ID}.csv"


@pytest.mark.parametrize(
    ("template", "format"),
    [("{run_id}.csv", "parquet"), ("{run_id}.csv", "csv.gz"), ("{run_id}.parquet.gz", None), ("{run_id}.json", None)],
)
def test_an_extension_of_another_format_is_refused(template: str, format: Any) -> None:
    """What a name promises a reader is what is in it."""
    with pytest.raises(ConfigurationError, match=r"suffix of another format|ends in"):
        mc_sink.SinkMadConnect(FRAME).preview(PREFIX, name=template, format=format)


def test_an_extension_that_the_run_id_brings_is_no_exception() -> None:
    """A name that ends in the run id promises what that ends in."""
    with pytest.raises(ConfigurationError, match=r"ends in \.parquet"):
        mc_sink.SinkMadConnect(FRAME).preview(PREFIX, name="{run_id}", run_id="nightly.parquet", format="csv")


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (pa.DataFrameSchema({}, name="feed"), "feed"),
        (type("Feed", (pa.DataFrameModel,), {}), "Feed"),
        ("audience", "audience"),
    ],
)
def test_a_schema_gives_its_name(schema: Any, name: str) -> None:
    """By name, as a schema, or as a model."""
    expected = mc_sink.SinkMadConnect(FRAME).preview(
        PREFIX, name="{schema}/{run_id}{ext}", schema=schema, run_id=RUN_ID
    )
    assert expected.files == (f"{PREFIX}{name}/{RUN_ID}.csv",)


def test_rejects_have_a_place_of_their_own(tmp_path: Path) -> None:
    """Rejects that would be written where the delivery is are refused; beside it they are not."""
    given: dict[str, Any] = {
        "schema": "audience",
        "on_invalid": "reject",
        "rejects": f"{tmp_path}/",
        "run_id": "a",
        "format": "parquet",
    }
    with pytest.raises(ConfigurationError, match="both the rejected and the delivered rows"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", name="{run_id}.rejects{ext}", **given)
    assert mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **given).rejects
