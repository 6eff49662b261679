"""Every key that a connection file may have, as frozen dataclasses that pydantic validates.

The delivery options come from the one list in `mc_sink.sink.options`, with the same names and meanings.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  pydantic reads these types
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mc_sink.sink import KINDS

SourceFormat = Literal["parquet", "csv", "ndjson", "ipc"]
# What runs when a delivery has ended: "module:function", or a command as a list of its words.
Hook: TypeAlias = str | list[str]
_STRICT: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rows come from: exactly one of `files`, `query` and `function`.

    `files` is a path, a URL or a glob, or several; `format` what they are, by default what their suffix says; and
    `options` go to Polars' `scan_…`. `query` is SQL: DuckDB runs it, on the file `database` if there is one, unless
    `uri` or `uri_env`, the environment variable that holds it, names a database for `polars.read_database_uri`, to
    which `options` go then. `function` is `module:function`, called with `arguments`; it returns a frame.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    files: str | list[str] | None = None
    format: SourceFormat | None = None
    query: str | None = None
    database: str | None = None
    uri: str | None = None
    uri_env: str | None = None
    function: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When it runs: `cron`, five fields as crontab has them, or `every`, such as "15m", "6h" or "1d".

    `timezone` is that of the cron fields. `missed` says what becomes of runs that fell due while nobody could start
    them: "once" makes up for all of them with one, as soon as that can be; "skip" leaves them out.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    cron: str | None = None
    every: str | None = None
    timezone: str = "UTC"
    missed: Literal["once", "skip"] = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What is told of a run's end; a hook that fails is a warning, and no failure of the run.

    `environment` names the variables that a command gets besides those that every command gets.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    on_success: Hook | None = None
    on_failure: Hook | None = None
    environment: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a run must keep before anything of it becomes visible.

    `min_rows` is that of a delivery. `max_change` is how far the number of rows may be from the last delivery's, up and
    down alike: a fraction such as 0.5, or percent as text, such as "50%".
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    min_rows: int | None = None
    max_change: float | str | None = None


if TYPE_CHECKING:

    class DeliveryOptions:
        """The delivery options of a connection file; each is None where the file doesn't have it."""

        def __getattr__(self, name: str) -> Any: ...

else:
    DeliveryOptions = make_dataclass(
        "DeliveryOptions",
        [(name, kind.in_file | None, None) for name, kind in KINDS.items() if kind.in_file is not None],
        frozen=True,
        slots=True,
        kw_only=True,
        namespace={"__pydantic_config__": _STRICT},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(DeliveryOptions):
    """A connection file. `format` is a name, or a table with `type` and the options of `Csv` or `Parquet`.

    `schema` is a name, the path of a YAML file, or `module:name`. `platform` names saved credentials; without one they
    come from the environment. `storage_options` holds the options that aren't secret.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    source: Source
    target: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)
    schedule: Schedule | None = None
    hooks: Hooks = field(default_factory=Hooks)
