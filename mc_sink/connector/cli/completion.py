"""The words that a shell completes: run ids, platforms, schemas and formats. A state that can't be read has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator  # noqa: TC003  typer reads these types
from contextlib import suppress
from typing import get_args

from mc_sink import list_schemas, platforms
from mc_sink.connector import history
from mc_sink.exceptions import SinkError
from mc_sink.sink import FormatName


def run_ids(incomplete: str) -> Iterator[str]:
    """Yield the newest run ids that begin with a text, and `last`."""
    with suppress(SinkError):
        yield from _beginning(
            incomplete, dict.fromkeys(["last", *(run.run_id for run in history.list_runs(limit=200))])
        )


def platform_names(incomplete: str) -> Iterator[str]:
    """Yield the names of saved platforms that begin with a text."""
    with suppress(SinkError):
        yield from _beginning(incomplete, (one.platform.name for one in platforms.list()))


def schema_names(incomplete: str) -> Iterator[str]:
    """Yield the names of shipped schemas that begin with a text."""
    yield from _beginning(incomplete, list_schemas())


def format_names(incomplete: str) -> Iterator[str]:
    """Yield the names of formats that begin with a text."""
    yield from _beginning(incomplete, get_args(FormatName))


def _beginning(incomplete: str, words: Iterable[str]) -> Iterator[str]:
    yield from (word for word in words if word.startswith(incomplete))
