"""The content of a delivery: the facts that its files share, and that a receiver needs to read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping  # noqa: TC003  pydantic reads the annotations of what a journal holds
from dataclasses import dataclass, replace
from typing import Any

from mc_sink.encrypted import Encryption  # noqa: TC001  as above


@dataclass(frozen=True, slots=True)
class Content:
    """The facts that all files of a delivery share.

    format, dialect
        The extension of the files without its dot, and the options of the format by their names.
    columns
        The columns of the files with their dtypes, as text.
    schema
        The name of the schema that validated the rows; None without one.
    partition_by, keys
        The partition columns, and the dtypes of those that only the folders have.
    preset
        The name of the receiver's preset; None without one.
    pattern
        The URL of every file, with `*` or `?` for each text that differs from one file to the next.
    manifest_form
        Whose form the manifest has, where the delivery has one.
    encryption
        The fingerprints of the keys that the files were encrypted for and signed with; None where they weren't.
    """

    format: str
    dialect: Mapping[str, Any]
    columns: Mapping[str, str]
    schema: str | None
    partition_by: tuple[str, ...] = ()
    keys: Mapping[str, str] | None = None
    preset: str | None = None
    pattern: str = ""
    manifest_form: str = "mc_sink"
    encryption: Encryption | None = None


def shared(contents: Iterable[Content]) -> Content:
    """Return the content of a delivery of several parts: names of several templates have no pattern in common."""
    first, *others = contents
    return first if all(one.pattern == first.pattern for one in others) else replace(first, pattern="")
