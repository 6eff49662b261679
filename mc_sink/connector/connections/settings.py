"""All keys of a connection file, as frozen dataclasses that pydantic validates.

The delivery options come from the one list in `mc_sink.sink.options`, with the same names and meanings.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  pydantic reads these types
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mc_sink.sink import KINDS

SourceFormat = Literal["parquet", "csv", "ndjson", "ipc"]
_STRICT: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL that the facts of a run are posted to, in the form of Slack, of Microsoft Teams, or as plain JSON.

    `url_env` names the environment variable that holds the URL, which is a secret: it is all that a post needs.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    url_env: str
    form: Literal["slack", "teams", "json"] = "json"


# Runs when a delivery has ended: "module:function", a command as a list of its words, or a webhook.
Hook: TypeAlias = str | list[str] | Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rows come from: exactly one of `files`, `query` and `function`.

    - `files`: a path, a URL or a glob, or a list of them. `format` is by default that of their suffix. `options` are
      arguments of Polars' `scan_…`.
    - `query`: SQL. DuckDB runs it, on the file `database` if one is named. With `uri`, or `uri_env`, the environment
      variable that holds one, `polars.read_database_uri` runs it, with `options` as its arguments.
    - `function`: `module:function`, called with `arguments`. It returns a frame.
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
    """When it runs: `cron`, the five fields of crontab, or `every`, such as "15m", "6h" or "1d".

    - `timezone` is that of the cron fields.
    - `missed` is about runs that were due while no scheduler ran: "once" runs one instead of all of them as soon as
      possible, and "skip" runs none.
    - `timeout`, such as "2h", ends a scheduled run that takes longer. None: no limit.
    - `pause_after` pauses the connection after so many failed runs in a row. None: never.
    - `run_id`: "new" for each run, or "due" for one that is made of the connection's name and the time that is due, so
      that the schedulers of several machines deliver it once.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    cron: str | None = None
    every: str | None = None
    timezone: str = "UTC"
    missed: Literal["once", "skip"] = "once"
    timeout: str | None = None
    pause_after: int | None = None
    run_id: Literal["new", "due"] = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`keep` is how many records of the connection stay: the newest, and that of the last delivery."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    keep: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions, commands and webhooks that are called at a run's end.

    A hook that fails is a warning, and never fails the run. `environment` names the variables that a command gets in
    addition to those of every command.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    on_success: Hook | None = None
    on_failure: Hook | None = None
    environment: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Conditions that a run must meet before anything becomes visible.

    `min_rows` is the option of a delivery. `max_change` is the largest change of the number of rows since the last
    delivery, up or down: a fraction such as 0.5, or percent as text, such as "50%".
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
    history: History = field(default_factory=History)
