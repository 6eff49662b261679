"""The questions of `mc-sink connections new`: each answer is checked by the code that loads the file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import typer

from mc_sink import platforms
from mc_sink._display import counted, lines
from mc_sink._frames import as_lazyframe
from mc_sink.connector.cli import platform_commands
from mc_sink.connector.cli.exit import say
from mc_sink.connector.cli.wording import for_command
from mc_sink.connector.connections import FORMAT_NAMES, Connection, inspect, of_document, opened
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.presets import PRESETS
from mc_sink.scrub import masked
from mc_sink.target import parse_target
from mc_sink.validation import list_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Document = dict[str, Any]
COUNTED_BYTES = 64 * 2**20  # rows of larger texts are not counted
STATES_ROWS = {".parquet", ".pq", ".arrow", ".ipc", ".feather"}
_QUERY = re.compile(r"(?:select|with|from)\s", re.IGNORECASE)
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_DURATION = re.compile(r"\d+\s*[a-z]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and how its answer becomes keys of the file; an empty answer adds none."""

    name: str
    text: Callable[[], str]
    keys: Callable[[str], Document]
    is_needed: bool = False
    applies: Callable[[Document], bool] = lambda _document: True


def source_of(answer: str) -> Document:
    """Return the source that an answer names: a query, a function, or files."""
    kind = "query" if _QUERY.match(answer) else "function" if _FUNCTION.fullmatch(answer) else "files"
    return {"source": {kind: answer}}


def database_of(answer: str) -> Document:
    """Return the database of a query: a file, or with `$` the variable that holds its URI."""
    return {"source": {"uri_env": answer[1:]} if answer.startswith("$") else {"database": answer}}


def schedule_of(answer: str) -> Document:
    """Return the schedule: a duration, or the fields of cron."""
    return {"schedule": {"every" if _DURATION.fullmatch(answer) else "cron": answer}}


def webhook_of(answer: str) -> Document:
    """Return the webhook of failed runs from the variable that holds its URL, and a form after a blank."""
    variable, _, form = answer.partition(" ")
    return {"hooks": {"on_failure": {"url_env": variable, **({"form": form.strip()} if form else {})}}}


def _saved() -> str:
    names = ", ".join(one.platform.name for one in platforms.list())
    return f"Platform ({names or 'none is saved'}; another name adds one; empty: the environment's credentials)"


QUESTIONS: tuple[Question, ...] = (
    Question("source", lambda: "Source (files or a glob, a query, or module:function)", source_of, is_needed=True),
    Question(
        "database",
        lambda: "Database (a DuckDB file, or $VARIABLE with a URI; empty: none)",
        database_of,
        applies=lambda document: "query" in document["source"],
    ),
    Question("target", lambda: "Target (s3://bucket/prefix/)", lambda answer: {"target": answer}, is_needed=True),
    Question(
        "platform",
        _saved,
        lambda answer: {"platform": answer},
        applies=lambda document: parse_target(document["target"]).protocol == "s3",
    ),
    Question("preset", lambda: f"Receiver's preset ({', '.join(PRESETS)}; empty: none)", lambda one: {"preset": one}),
    Question(
        "format",
        lambda: f"Format ({', '.join(FORMAT_NAMES)}; empty: by the target's name or the preset)",
        lambda answer: {"format": answer},
    ),
    Question(
        "schema",
        lambda: f"Schema ({', '.join(list_schemas())}, a YAML file or module:name; empty: none)",
        lambda answer: {"schema": answer},
    ),
    Question(
        "schedule", lambda: "Schedule (a duration such as 6h, or cron such as 30 2 * * *; empty: none)", schedule_of
    ),
    Question(
        "timezone",
        lambda: "Time zone of the schedule (empty: UTC)",
        lambda answer: {"schedule": {"timezone": answer}},
        applies=lambda document: "cron" in document.get("schedule", {}),
    ),
    Question(
        "webhook",
        lambda: "Webhook for failed runs (the VARIABLE with its URL, and slack, teams or json; empty: none)",
        webhook_of,
    ),
)


@dataclass(slots=True)
class Form:
    """A connection file that is being written: its content so far, and where it will be."""

    file: Path
    asks: bool
    document: Document = field(default_factory=dict)

    def fill(self, given: Mapping[str, str | None], more: Document) -> Document:
        """Return the content from the answers that are given, and those to the questions about the others.

        Raises `ConfigurationError` for an invalid answer where no question is asked.
        """
        position = 0
        while position < len(QUESTIONS):
            question = QUESTIONS[position]
            try:
                self._answer(question, given.get(question.name))
                if question.name == "database":  # all of the source is known
                    say(seen(self.connection(self.document)))
            except SinkError as error:
                if not self.asks:
                    raise
                say(masked(for_command(error.message, "connections")))
                given = dict(given) | {question.name: None}
                if question.name == "database":  # the query may be the cause
                    given, position = given | {"source": None}, 0
                    del self.document["source"]
            else:
                position += 1
        document = with_keys(self.document, more)
        inspect(self.connection(document))
        return document

    def _answer(self, question: Question, answer: str | None) -> None:
        """Add the answer to a question: from the flag or from a prompt where the question applies."""
        if answer is None and question.applies(self.document):
            answer = self._ask(question)
        if not answer:
            return
        added = with_keys(self.document, question.keys(answer))
        if question.name == "platform":
            self._find_platform(answer, added)
        inspect(self.connection(added))
        self.document = added

    def _ask(self, question: Question) -> str:
        if not self.asks:
            if question.is_needed:
                raise ConfigurationError(f"The connection needs a {question.name}. Pass --{question.name}.")
            return ""
        options: dict[str, Any] = {} if question.is_needed else {"default": "", "show_default": False}
        return str(typer.prompt(question.text(), err=True, **options)).strip()

    def connection(self, document: Document) -> Connection:
        """Return the connection of a content, with a folder as the target where none is known yet."""
        document = {"target": "./not-known-yet/"} | document
        return of_document(document, name=self.file.stem, file=self.file, folder=self.file.parent)

    def _find_platform(self, name: str, document: Document) -> None:
        """Find a saved platform, or add it where questions are asked."""
        if any(one.platform.name == name for one in platforms.list()) or not self.asks:
            platforms.describe(name)
            return
        if not typer.confirm(f"No platform {name} is saved. Add it now?", default=True, err=True):
            platforms.describe(name)
        region = typer.prompt("Region (empty: not known)", default="", show_default=False, err=True)
        endpoint = typer.prompt("The store's URL (empty: AWS)", default="", show_default=False, err=True)
        platform_commands.add(name, region=region or None, endpoint=endpoint or None, prefix=document["target"])


def with_keys(document: Document, more: Document) -> Document:
    """Return a document with more keys, also in its tables."""
    tables = {
        name: with_keys(document[name], value)
        for name, value in more.items()
        if isinstance(value, dict) and isinstance(document.get(name), dict)
    }
    return document | more | tables


def seen(connection: Connection) -> str:
    """Return the columns of a source and, where that is cheap, the number of its rows; raise where it can't be read."""
    source = connection.settings.source
    query = (source.query or "").strip().rstrip(";")
    if source.function or source.uri or source.uri_env or "://" in str(source.files) or ";" in query:
        return "The source is read by a run, and not now. A dry run shows its columns."
    if query:
        source = replace(source, query=f"select * from (\n{query}\n) limit 0")  # noqa: S608  its own query
    try:
        with opened(source, connection.folder) as frame:
            plan = as_lazyframe(frame.schema.empty_table() if query else frame)  # a reader has a batch at least
            columns = [f"  {name}: {dtype}" for name, dtype in plan.collect_schema().items()]
            number = plan.select(pl.len()).collect().item() if _is_small(connection) else None
    except SinkError:
        raise
    except Exception as error:  # noqa: BLE001  each reader has errors of its own
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigurationError(f"Cannot read the source: {type(error).__name__}: {reason}. Correct it.") from None
    rows = "" if number is None else f" and {counted(number, 'row')}"
    return lines(f"The source has {counted(len(columns), 'column')}{rows}:", *columns)


def _is_small(connection: Connection) -> bool:
    """Return whether the rows of a source can be counted at once: files that state it, or few bytes."""
    patterns = connection.settings.source.files or []
    patterns = [patterns] if isinstance(patterns, str) else patterns
    found = [Path(one) for pattern in patterns for one in glob(str(connection.folder / pattern), recursive=True)]  # noqa: PTH207  Path has no absolute globs
    texts = [one.stat().st_size for one in found if one.suffix not in STATES_ROWS]
    return bool(found) and sum(texts) <= COUNTED_BYTES


def as_toml(document: Document, head: str = "") -> str:
    """Return the text of a connection file, with its tables at the end."""
    texts = [head] if head else []
    first = sorted(document.items(), key=lambda one: one[0] != "target")
    texts += [f"{_key(name)} = {_value(value)}" for name, value in first if not isinstance(value, dict)]
    for name, table in document.items():
        if isinstance(table, dict):
            texts += ["", f"[{_key(name)}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "\n".join(texts) + "\n"


def _value(value: Any) -> str:
    """Return a value as TOML, whose basic strings are those of JSON except for one character."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
