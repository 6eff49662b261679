"""All keys of a connection file, as frozen dataclasses that pydantic validates.

The delivery options come from the one list in `mc_sink.sink.options`, with the same names and meanings. Editors show
the text of `Arguments:`; see `file_schema.py`.
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

    Arguments:
        url_env: The environment variable that holds the URL, which is a secret: it is all that a post needs.
        form: The form of the message: that of Slack, of Microsoft Teams, or plain JSON.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    url_env: str
    form: Literal["slack", "teams", "json"] = "json"


# Runs when a delivery has ended: "module:function", a command as a list of its words, or a webhook.
Hook: TypeAlias = str | list[str] | Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rows come from: exactly one of `files`, `query` and `function`.

    Arguments:
        files: A path, a URL or a glob, or a list of them. Relative paths begin at this file's folder.
        format: The format of the files. Default: that of their suffix.
        query: SQL. DuckDB runs it, or with `uri` or `uri_env` the database that they name.
        database: A file of DuckDB for the query.
        uri: The database of the query, without a password. `polars.read_database_uri` runs it.
        uri_env: The environment variable that holds the database's URI.
        function: `module:function`, from a module beside this file or an installed one. It returns a frame.
        arguments: The arguments of the function.
        options: More arguments of Polars' `scan_…` for files, or of `polars.read_database_uri` for a database.
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
    """When it runs: exactly one of `cron` and `every`.

    Arguments:
        cron: The five fields of crontab, or @hourly, @daily, @weekly or @monthly.
        every: A duration, such as "15m", "6h" or "1d".
        timezone: The time zone of the cron fields.
        missed: For runs that were due while no scheduler ran: "once" runs one instead of all of them as soon as
            possible, and "skip" runs none.
        timeout: A duration, such as "2h", after which a scheduled run is ended. Default: no limit.
        pause_after: The number of failed runs in a row after which the connection is paused. Default: never.
        run_id: "new" for each run, or "due" for one that is made of the connection's name and the time that is due, so
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
    """The history of the connection's runs.

    Arguments:
        keep: How many records of the connection stay: the newest, and that of the last delivery.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    keep: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions, commands and webhooks that are called at a run's end.

    A hook that fails is a warning, and never fails the run.

    Arguments:
        on_success: "module:function", a command as a list of its words, or a webhook, for a run that delivered.
        on_failure: The same for a run that failed.
        environment: The variables that a command gets in addition to those of every command.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    on_success: Hook | None = None
    on_failure: Hook | None = None
    environment: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Conditions that a run must meet before anything becomes visible.

    Arguments:
        min_rows: Fewer valid rows than this fail the run.
        max_change: The largest change of the number of rows since the last delivery, up or down: a fraction such as
            0.5, or percent as text, such as "50%".
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
    """A connection file: a source, a target and the options of a delivery.

    Arguments:
        source: Where the rows come from: exactly one of files, a query and a function.
        target: A prefix (`s3://bucket/prefix/`: a new object each run) or a file (`s3://bucket/prefix/name.csv`); also
            a local path, which begins at this file's folder.
        format: "csv", "csv.gz" or "parquet", or a table with `type` and the options of `Csv` or `Parquet`. Default: the
            suffix of the target, else "csv".
        preset: A receiver's name, or the path of a TOML file. Its format, splitting and names apply where no key is
            given, and its limits are checked.
        schema: The name of a schema, the path of a YAML file, or `module:name`. Every row is validated.
        platform: Saved credentials, by their name. Default: those of the environment.
        encrypt: A table with `type`, "pgp" or "age", and `recipients`: files are encrypted while they are written.
        object_options: ACL, encryption, storage class, tags and metadata of the objects in S3.
        storage_options: Options of the store that are not secret.
        guard: Conditions that a run must meet before anything becomes visible.
        schedule: When `mc-sink schedule` runs the connection.
        hooks: What is called at a run's end.
        history: The history of the connection's runs.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    source: Source
    target: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)
    schedule: Schedule | None = None
    hooks: Hooks = field(default_factory=Hooks)
    history: History = field(default_factory=History)
