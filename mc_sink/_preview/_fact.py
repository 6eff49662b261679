"""What a preview says, for a person to read and for a program to check."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from mc_sink import _html
from mc_sink._printable import labelled, lines
from mc_sink.formats import Parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.formats import Format
    from mc_sink.object_options import ObjectOptions

MIB = 2**20
# As many names as a person reads.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """How S3 would get an object: in parts of `part_size` bytes, up to `in_flight` of them at once.

    An object smaller than a part goes as a whole. From the 901st part on, parts double, and fewer are in flight. Where
    a store is known to take only parts of one size, they don't, and `most_bytes` is the most that a file may have.
    """

    part_size: int
    in_flight: int
    most_bytes: int | None = None

    @property
    def num_bytes(self) -> int:
        """The most bytes of an object in memory: the parts in flight, and one more that is being cut."""
        return self.part_size * (self.in_flight + 1)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delivery would do. Holds no credentials.

    `files` are the URLs of all files, or, where their number can't be known before the run, of the first ones; then
    `num_files` is None. `pattern` is a URL with what differs from file to file in braces. `rejects` is where bad rows
    would go. `columns` are those of the files; None where the frame can't be looked at, because it can be read only
    once, or has to be run. `format` has the dialect in force; `lost` are the options of the preset's dialect that the
    caller's own format leaves out. `permissions` are S3's actions, and `upload` is None where nothing goes to S3.
    `unkept` has a sentence for each promise that the store is known not to keep its part of, as far as that was learnt
    with a saved platform.
    """

    run_id: str
    target: str
    files: tuple[str, ...]
    num_files: int | None
    pattern: str
    manifest: str | None
    success_marker: str | None
    rejects: str | None
    format: Format
    row_group_size: int
    object_options: ObjectOptions | None
    columns: tuple[str, ...] | None
    permissions: tuple[str, ...]
    upload: UploadPlan | None
    preset: str | None = None
    lost: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()

    def __str__(self) -> str:
        return lines(*labelled(self._facts(), 12), *(f"  {url}" for url in self._shown()))

    def _repr_html_(self) -> str:
        return _html.facts(self._facts()) + _html.rows(("file",), [(url,) for url in self._shown()])

    def _facts(self) -> list[tuple[str, str]]:
        number = "as many files as the rows fill" if self.num_files is None else f"{self.num_files:,} file(s)"
        groups = f", row groups of {self.row_group_size:,} rows" if isinstance(self.format, Parquet) else ""
        facts = {
            "would make": f"{number}; nothing was sent",
            "to": self.target,
            "run id": self.run_id,
            "manifest": self.manifest,
            "marker": self.success_marker,
            "rejects": self.rejects,
            "format": _told(self.format) + groups,
            "preset": self.preset,
            "lost": f"of the preset's dialect: {', '.join(self.lost)}" if self.lost else None,
            "columns": "not looked at" if self.columns is None else _listed(self.columns),
            "object": _told(self.object_options) if self.object_options else None,
            "needs": ", ".join(self.permissions),
            "uploads": _size(self.upload) if self.upload else None,
        }
        return [*((name, value) for name, value in facts.items() if value), *(("not kept", one) for one in self.unkept)]

    def _shown(self) -> Iterator[str]:
        yield from self.files[:SHOWN]
        if self.num_files is None:
            yield f"{self.pattern}, and so on"
        elif self.num_files > SHOWN:
            yield f"… and {self.num_files - SHOWN:,} more"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join([*names[:SHOWN], *([f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else [])])


def _size(upload: UploadPlan) -> str:
    size, memory = upload.part_size / MIB, upload.num_bytes / MIB
    plan = f"{upload.in_flight} part(s) of {size:,.1f} MiB at once, up to {memory:,.1f} MiB of memory for a file"
    if upload.most_bytes is None:
        return plan
    most = upload.most_bytes / 2**30
    return (
        f"{plan}; all parts have one size, so a file may have {most:,.1f} GiB: a larger one needs a larger "
        "default_block_size in storage_options"
    )


def _told(options: object) -> str:
    """Write a value with what isn't as usual in it."""
    values = [(field, getattr(options, field.name)) for field in fields(options)] if is_dataclass(options) else []
    unusual = [(field.name, value) for field, value in values if value != field.default and _is_set(field, value)]
    return f"{type(options).__name__}({', '.join(f'{name}={value!r}' for name, value in unusual)})"


def _is_set(field: Any, value: object) -> bool:
    return field.default_factory is MISSING or value != field.default_factory()
