"""The facts of a delivery from which a load statement is written, and how they stand in SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import counted
from mc_sink._dtype_text import read_dtype
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mc_sink.content import Content

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
# Formats of moments that every receiver parses.
_ISO = {None, "iso", "iso:strict", "%F", "%Y-%m-%d", "%T", "%H:%M:%S", "%T%.6f", "%H:%M:%S%.6f"}
_FORMATS: dict[type[pl.DataType], str] = {
    pl.Date: "date_format",
    pl.Time: "time_format",
    pl.Datetime: "datetime_format",
}


@dataclass(eq=False)
class Delivered:
    """A delivery, and the table and dialect of a statement about it. `notes` become comments above the statement."""

    content: Content
    target: str
    files: dict[str, Mapping[str, str | None] | None]
    manifest: str | None
    table: str
    dialect: str
    access: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def is_csv(self) -> bool:
        """Whether the files are CSV."""
        return self.content.format.startswith("csv")

    @property
    def is_gzip(self) -> bool:
        """Whether the files are compressed by gzip as a whole."""
        return self.content.format == "csv.gz"

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns of the files."""
        return {name: read_dtype(text) for name, text in self.content.columns.items()}

    @cached_property
    def keys(self) -> dict[str, pl.DataType]:
        """The partition columns that only the folders have."""
        return {name: read_dtype(text) for name, text in (self.content.keys or {}).items()}

    @property
    def key_folders(self) -> dict[str, str]:
        """The partition columns with their names as folders have them."""
        folders = [folder for folder in self.content.pattern.split("/")[:-1] if folder.endswith("=*")]
        return dict(zip(self.content.partition_by, (folder[:-2] for folder in folders), strict=False))

    def option(self, name: str) -> Any:
        """Return an option of the format."""
        value = self.content.dialect.get(name)
        return tuple(value) if isinstance(value, list) else value

    @property
    def folder(self) -> str:
        """The URL of the prefix, or of the folder of a single file."""
        return self.target[: self.target.rfind("/") + 1]

    @property
    def urls(self) -> list[str]:
        """The URLs of the files; a single pattern where the record has no values of partitions."""
        return [self.pattern] if self.has_pattern else list(self.files)

    @property
    def pattern(self) -> str:
        """The pattern of the URLs of all files. Raises where parts of the delivery have names of several patterns."""
        if not self.content.pattern:
            raise self.refuse(
                "its parts were staged with several templates of names, which no pattern has in common",
                "Load the files one by one, by the URLs in the receipt.",
            )
        return self.content.pattern

    @property
    def has_pattern(self) -> bool:
        """Whether the URLs of the files aren't known, because they hold values of partitions."""
        return any(partition == {} for partition in self.files.values())

    @property
    def names(self) -> list[str]:
        """The URLs without that of the folder."""
        return [url.removeprefix(self.folder) for url in self.urls]

    def is_as_text(self, name: str) -> bool:
        """Return whether a column of a CSV has a text that readers can't convert to its dtype by themselves."""
        dtype = self.columns[name]
        if isinstance(dtype, pl.Boolean):
            return bool(self.option("boolean_format") != ("true", "false"))
        if dtype.is_nested() or (dtype.is_numeric() and not dtype.is_integer() and self.option("decimal_comma")):
            return True
        option = _FORMATS.get(type(dtype))
        return option is not None and self.option(option) not in _ISO

    # --- what the receiver doesn't do

    def note(self, text: str) -> None:
        """Add a comment, once."""
        if text not in self.notes:
            self.notes.append(text)

    def refuse(self, reason: str, advice: str) -> ConfigurationError:
        """Return the error for files that the receiver can't read as they are."""
        return ConfigurationError(f"Cannot write a load statement for {self.dialect}: {reason}. {advice}")

    def need_s3(self) -> None:
        """Raise unless the files are in S3."""
        if not self.target.startswith("s3://"):
            raise self.refuse(
                f"it loads from S3, and the files are at {self.target}", "Deliver to s3://bucket/prefix/."
            )

    def need_cloud(self) -> None:
        """Raise for files on a disk, which a service can't read."""
        if "://" not in self.target:
            raise self.refuse(f"it loads from a bucket, and the files are at {self.target}", "Deliver to a bucket.")

    def need_no_pattern(self) -> None:
        """Raise for a target that the receiver would take for a pattern; a key in S3 has no such character."""
        if found := re.search(r"[*?\[\]{}]", self.target):
            raise self.refuse(
                f"it takes {found[0]!r} in {self.target} for a pattern", "Deliver to a folder without it."
            )

    def need_columns_in_files(self) -> None:
        """Raise if columns are in the folders' names only."""
        if self.keys:
            raise self.refuse(
                f"it doesn't read {counted(len(self.keys), 'partition column')} from the names of folders: "
                f"{', '.join(self.keys)}",
                "Deliver with include_key=True.",
            )

    def need_urls(self) -> None:
        """Raise if the URLs aren't known."""
        if self.has_pattern:
            raise self.refuse(
                "it needs the URL of every file, and the history keeps no values of partitions",
                "Use the load_statement() of the receipt itself.",
            )

    def need_folders(self) -> None:
        """Raise if a partition column is neither in the files nor in the name of a folder."""
        if len(self.key_folders) < len(self.keys):
            raise self.refuse(
                "the partition columns are in names of files only, which it doesn't read",
                "Deliver with include_key=True, or without a name= that holds them.",
            )

    def need_encoding(self, known: Mapping[str, str]) -> str:
        """Return the receiver's name of the encoding; raise where it has none."""
        encoding = self.option("encoding") or "utf-8"
        if encoding not in known:
            raise self.refuse(f"it doesn't read {encoding}", "Deliver in UTF-8.")
        return known[encoding]

    def need_quote(self) -> None:
        """Raise for a quote character other than the usual one."""
        if self.option("quote_char") != '"':
            raise self.refuse(
                f"it knows no other quote character than '\"', and the files have {self.option('quote_char')!r}",
                "Deliver with the usual quote_char.",
            )

    def need_doubled_quotes(self, *, escapes: bool = False) -> None:
        """Raise for quotes that are backslashed by a character instead of doubled, unless the receiver reads them."""
        if self.option("escape_char") and not escapes:
            raise self.refuse("it doesn't read an escape character", "Deliver with doubled quotes, escape_char=None.")

    def note_nulls(self, *, is_known: bool) -> None:
        """Note where nulls and empty texts read alike."""
        if is_known or not any(isinstance(dtype, pl.String | pl.Categorical) for dtype in self.columns.values()):
            return
        self.note("Nulls and empty texts read alike. null_value='\\N' keeps them apart.")

    def note_texts(self, names: Iterable[str], as_type: str) -> None:
        """Note the columns that arrive as text."""
        if found := list(names):
            self.note(f"As {as_type}, because the receiver doesn't parse their text: {', '.join(map(repr, found))}.")

    # --- as text

    def statement(self, *lines: str, comment: str = "-- ", end: str = ";") -> str:
        """Return the statement below its notes; empty lines are left out."""
        notes = [comment + " ".join(note.split()) for note in self.notes]
        return "\n".join([*notes, *(line for line in lines if line)]) + end


def quoted(text: str) -> str:
    """Return a literal of standard SQL, in which a backslash is itself."""
    return "'" + text.replace("'", "''") + "'"


def backslashed(text: str) -> str:
    r"""Return a literal of a dialect in which a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\t", "\\t") + "'"


def doubled(name: str) -> str:
    """Return an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def backticked(name: str) -> str:
    """Return an identifier in backticks, of a dialect in which a backtick is doubled."""
    return "`" + name.replace("`", "``") + "`"


def column_list(columns: Mapping[str, str], identifier: Callable[[str], str]) -> str:
    """Return names with their types."""
    return ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
