"""What a generated schedule may show, and what it must not: the model that a bucket is held against.

A run may be attempted with several versions of its data. The files under its names must be of one of them, file by
file; and once an attempt has succeeded, all of that version, exactly once.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from dataclasses import dataclass, field
from functools import cache
from random import Random
from string import ascii_letters
from typing import TYPE_CHECKING, Any

import polars as pl

import mc_sink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mc_sink.sink.options import FormatName
    from tests.servers.fault import FaultServer

Version = tuple[int, ...]
"""The rows of a frame, by one number each."""
Rows = tuple[tuple[int, int, str], ...]
SCHEMA = pl.Schema({"id": pl.Int64, "value": pl.Int64, "text": pl.String})
BUCKET_URL = "s3://bucket/"


@cache
def rows_of(version: Version) -> Rows:
    """Return the rows that a version stands for; their text doesn't compress away, so three of them are two parts."""
    texts = ("".join(Random(value).choices(ascii_letters, k=2000)) for value in version)  # noqa: S311  no secret
    return tuple((number, value, text) for (number, value), text in zip(enumerate(version), texts, strict=True))


def frame_of(version: Version) -> pl.DataFrame:
    """Make the frame that a version stands for."""
    return pl.DataFrame(list(rows_of(version)), schema=SCHEMA, orient="row")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a run is delivered; `key` is the name of its one file, or None for a prefix."""

    format: FormatName
    rows_per_file: int | None
    key: str | None
    manifest: bool | None
    part_size: int

    def options(self, run_id: str | None) -> dict[str, Any]:
        """Return the arguments of a delivery that follow from the shape."""
        return {
            "format": self.format,
            "max_rows_per_file": self.rows_per_file,
            "manifest": self.manifest,
            "run_id": run_id,
        }


@dataclass(slots=True)
class Run:
    """A run id, every version of the data that was tried with it, and the version that was delivered, if one was.

    `strays` are files that its manifest doesn't list: when two attempts with other data publish at one moment, the
    one that comes second learns from a `CommitError` what it has made visible by then.
    """

    number: int
    shape: Shape
    run_id: str | None
    versions: list[Version] = field(default_factory=list)
    delivered: Version | None = None
    strays: set[str] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"run {self.run_id or 'without an id'}"

    @property
    def target(self) -> str:
        """Where it is delivered to."""
        return f"{BUCKET_URL}p/{self.shape.key or ''}"

    @property
    def manifest(self) -> str | None:
        """The key of its manifest, if it has one."""
        several = self.shape.rows_per_file is not None
        wanted = several if self.shape.manifest is None else self.shape.manifest
        return f"p/_manifests/{self.run_id}.json" if wanted else None

    def name(self, number: int) -> str:
        """Return the key of one file."""
        if self.shape.key:
            return f"p/{self.shape.key}"
        count = f"-{number:05d}" if self.shape.rows_per_file else ""
        return f"p/{self.run_id}{count}.{self.shape.format}"

    def files(self, version: Version) -> dict[str, Rows]:
        """Return the keys that a version is delivered at, and the rows of each."""
        rows, most = rows_of(version), self.shape.rows_per_file or len(version) or 1
        return {self.name(at // most): rows[at : at + most] for at in range(0, max(1, len(rows)), most)}

    def owns(self, key: str) -> bool:
        """Return True if a key is one of its names, for any version of its data."""
        named = re.fullmatch(rf"p/{self.run_id}(-\d{{5,}})?\.[a-z.]+", key)
        return key in {self.manifest, self.name(0)} or (self.shape.key is None and bool(named))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a run and how it ended; `version` is None where a journal knows it, and not its caller."""

    run: Run
    version: Version | None
    outcome: mc_sink.Receipt | mc_sink.SinkError

    @property
    def versions(self) -> list[Version]:
        """What its files may hold."""
        return self.run.versions if self.version is None else [self.version]

    def may_show(self, key: str) -> bool:
        """Return True if its outcome says that this key may have become visible."""
        if isinstance(self.outcome, mc_sink.CommitUnknown):
            return key in _keys(self.outcome.committed) | _keys(self.outcome.uncommitted[:1])
        if isinstance(self.outcome, mc_sink.CommitError):
            return key in _keys(self.outcome.committed)
        if isinstance(self.outcome, mc_sink.AlreadyExistsError) and self.run.run_id is None:
            return key == self.run.name(0)  # without a run id, the very same bytes may be another run's
        return isinstance(self.outcome, mc_sink.Receipt) and self.run.owns(key)


class Seen:
    """The bucket at one moment: every visible object in the order in which it became visible."""

    def __init__(self, server: FaultServer) -> None:
        self.objects = {key: b"".join(one.data) for key, one in server.store.bucket(server.bucket).copy().items()}
        self._etags = {key: one.etag for key, one in server.store.bucket(server.bucket).copy().items()}
        self._order = list(self.objects)

    def __iter__(self) -> Iterator[str]:
        return iter(self.objects)

    def is_file(self, run: Run, version: Version, key: str) -> bool:
        """Return True if the object at a key is that version's file, whole; a Parquet file says whose it is."""
        data, format = self.objects[key], run.shape.format
        expected = run.files(version).get(key)
        if expected is None or read(data, format) != expected:
            return False
        return format != "parquet" or run.run_id in {None, pl.read_parquet_metadata(io.BytesIO(data))["mc_sink.run_id"]}

    def is_manifest(self, run: Run, version: Version, key: str) -> bool:
        """Return True if the object at a key is that version's manifest, and came after every file that it lists."""
        if key != run.manifest or not (said := _as_json(self.objects[key])):
            return False
        files = run.files(version)
        listed = [(one["path"], one["num_rows"], one["num_bytes"], one["etag"]) for one in said["files"]]
        there = [
            (BUCKET_URL + name, len(rows), len(self.objects[name]), self._etags[name])
            for name, rows in files.items()
            if name in self.objects and self._order.index(name) < self._order.index(key)
        ]
        return listed == there and len(there) == len(files) and said["num_rows"] == len(version)

    def shows(self, run: Run, version: Version, *, but: Iterable[str] = ()) -> bool:
        """Return True if exactly this version of a run is visible: all of it, once, and nothing else of its names."""
        keys = {key for key in self if run.owns(key)} - set(but) - run.strays
        files = run.files(version)
        whole = keys - {run.manifest} == set(files) and all(self.is_file(run, version, key) for key in files)
        return whole and (
            run.manifest is None or (run.manifest in keys and self.is_manifest(run, version, run.manifest))
        )

    def fits(self, run: Run, version: Version, *, but: Iterable[str] = ()) -> bool:
        """Return True if what is visible of a run is part of this version, so that a rerun with it can succeed."""
        keys = {key for key in self if run.owns(key)} - set(but)
        return all(self.is_file(run, version, key) or self.is_manifest(run, version, key) for key in keys)


_read: dict[tuple[str, bytes], Rows | None] = {}


def read(data: bytes, format: str) -> Rows | None:
    """Read a file back, or give None for what isn't one."""
    if (format, data) not in _read:
        try:
            _read[format, data] = tuple(_frame(data, format).rows())
        except (pl.exceptions.PolarsError, OSError, EOFError):
            _read[format, data] = None
    return _read[format, data]


def _frame(data: bytes, format: str) -> pl.DataFrame:
    if format == "parquet":
        return pl.read_parquet(io.BytesIO(data))
    text = gzip.decompress(data) if format == "csv.gz" else data
    if not text.endswith(b"\n"):
        raise EOFError
    return pl.read_csv(io.BytesIO(text), schema=SCHEMA)


def _as_json(data: bytes) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(data)
    except ValueError:
        return None
    return found if "files" in found else None


def _keys(urls: Iterable[str]) -> set[str]:
    return {url.removeprefix(BUCKET_URL) for url in urls}
