"""A share: one worker's part of a run, as a small message to the driver. It holds no bytes of a file and no secret.

share ──pickle──► JSON, compressed ──► share

A verdict is a value of it: what no retry can change comes back as its `failure`, so that a scheduler doesn't retry it
and the driver gets every share.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, ClassVar

import polars as pl

from mc_sink._display import lines
from mc_sink._lazy import type_adapter
from mc_sink.exceptions import (
    AlreadyDelivered,
    AlreadyExistsError,
    ConfigurationError,
    LimitError,
    PermissionDenied,
    SinkError,
    TargetError,
    ValidationError,
    Visible,
)
from mc_sink.publishing import journal
from mc_sink.receipt import Stage  # noqa: TC001  as above
from mc_sink.staged import (
    StagedFile,  # noqa: TC001  as above
    StagedRejects,  # noqa: TC001  as above
)

# The errors that no retry can change.
VERDICTS = (ValidationError, ConfigurationError, PermissionDenied, AlreadyExistsError, TargetError)
_KINDS: dict[str, type[SinkError]] = {kind.__name__: kind for kind in (*VERDICTS, LimitError, AlreadyDelivered)}
# What a message keeps of an error: counts stay exact for so many checks, and the first failures are shown.
_CHARACTERS, _NOTES, _CHECKS, _CASES_CHARACTERS = 1_000, 3, 20, 1_200
_FACTS = ("action", "preset", "limit", "manifest", "schema_name", "advice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One worker's part of a run: what it staged, or why that was refused. A pickle or its JSON holds 1 to 4 KB.

    number, delivery, host
        The share's number, counted from 0; the id of its `Delivery`; and the machine that it was staged on.
    num_rows
        The rows that came. `files` hold those that are delivered, and `rejects` the rejected ones.
    failure
        The error if the share was refused, and then nothing of it is stored. `failure_cases` has the first cases only.
    rejected
        The report on the rejected rows; None if none was rejected.
    buckets
        A bit for each of the 4,096 buckets of the keys that must be unique; None where none must be.
    """

    number: int
    delivery: str
    host: str
    num_rows: int = 0
    files: tuple[StagedFile, ...] = ()
    rejects: StagedRejects | None = None
    validated: bool = False
    took: timedelta = timedelta(0)
    stages: tuple[Stage, ...] = ()
    buckets: bytes | None = None
    failure: SinkError | None = None
    rejected: SinkError | None = None

    @property
    def num_rejected(self) -> int:
        """The number of rejected rows."""
        return self.rejects.num_rows if self.rejects else 0

    def to_json(self) -> str:
        """Return the share as JSON text, for a scheduler that passes text between its tasks."""
        return json.dumps(self, default=_as_json, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Share:
        """Read back what `to_json` returned. Raises `ConfigurationError` for any other text."""
        try:
            read: _Message = type_adapter(_Message).validate_json(text)
            facts = {one.name: getattr(read, one.name) for one in fields(cls)}
            return cls(**facts | {name: facts[name] and _error_of(facts[name]) for name in ("failure", "rejected")})
        except (ValueError, TypeError, KeyError, OverflowError, pl.exceptions.PolarsError) as error:
            raise ConfigurationError(
                f"A text is not a share's ({type(error).__name__}). Pass what Share.to_json returned, of the same "
                "version of mc_sink."
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (zlib.compress(self.to_json().encode()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ErrorFacts:
    """What a message holds of an error. Fields without a value belong to errors of other kinds."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}
    kind: str
    message: str
    visible: Visible
    notes: tuple[str, ...]
    action: str | None = None
    preset: str | None = None
    limit: str | None = None
    manifest: str | None = None
    schema_name: str | None = None
    advice: str | None = None
    checks: tuple[tuple[str | None, str | None, int, str | None], ...] | None = None
    cases: tuple[tuple[int | None, str | None, str | None, str | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """The fields of a share as its JSON has them; all of them are required."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "val_json_bytes": "base64", "allow_inf_nan": False}
    number: int
    delivery: str
    host: str
    num_rows: int
    files: tuple[StagedFile, ...]
    rejects: StagedRejects | None
    validated: bool
    took: timedelta
    stages: tuple[Stage, ...]
    buckets: bytes | None
    failure: _ErrorFacts | None
    rejected: _ErrorFacts | None


def small(error: SinkError) -> SinkError:
    """Return an error as a message keeps it: with the first failures only, and without its frames and causes."""
    return _error_of(_ErrorFacts(**_error_facts(error)))


def _unpacked(packed: bytes) -> Share:
    return Share.from_json(zlib.decompress(packed).decode())


def _as_json(value: object) -> object:
    if isinstance(value, SinkError):
        return _error_facts(value)
    return (
        {one.name: getattr(value, one.name) for one in fields(value)}
        if isinstance(value, Share)
        else journal.as_json(value)
    )


def _error_facts(error: SinkError) -> dict[str, Any]:
    """Return the facts of an error as values that JSON can hold."""
    facts: dict[str, Any] = {
        "kind": next(name for name in (one.__name__ for one in type(error).__mro__) if name in _KINDS),
        "message": _cut(error.message, _CHARACTERS),
        "visible": error.visible,
        "notes": [_cut(note, _CHARACTERS // 4) for note in getattr(error, "__notes__", ())][:_NOTES],
        **{name: _cut(text, _CHARACTERS // 4) for name in _FACTS if (text := getattr(error, name, None))},
    }
    if isinstance(error, ValidationError) and error.checks is not None:
        checks = [[_cut(cell, 80) for cell in row] for row in error.checks.head(_CHECKS).rows()]
        facts |= {"checks": checks, "cases": _first_cases(error.failure_cases)}
    return facts


def _first_cases(cases: pl.DataFrame | None) -> list[list[object]]:
    """Return the first failures, as many as a message holds."""
    shown, room = list[list[object]](), _CASES_CHARACTERS
    for row in cases.head(100).iter_rows() if cases is not None else ():
        shown.append([_cut(cell, 80) for cell in row])
        room -= len(str(shown[-1]))
        if room <= 0:
            break
    return shown


def _error_of(facts: _ErrorFacts) -> SinkError:
    """Return the error that has these facts."""
    kind, message = _KINDS[facts.kind], lines(*facts.message.split("\n"))
    own: dict[str, Any] = {name: text for name in _FACTS if (text := getattr(facts, name)) is not None}
    if facts.checks is not None:
        checks: dict[str, Any] = {"column": pl.String, "check": pl.String, "failures": pl.UInt64, "examples": pl.String}
        cases: dict[str, Any] = {"row": pl.UInt64, "column": pl.String, "check": pl.String, "failure_case": pl.String}
        own["checks"] = pl.DataFrame(facts.checks, schema=checks, orient="row")
        own["failure_cases"] = pl.DataFrame(facts.cases, schema=cases, orient="row")
    error = kind(message, **own)
    error.visible = facts.visible
    for note in facts.notes:
        error.add_note(note)
    return error


def _cut(value: Any, most: int) -> Any:
    """Return a text of at most so many characters, and any other value as it is."""
    return f"{value[: most - 1]}…" if isinstance(value, str) and len(value) > most else value
