"""What the shell completes: ids of runs, names of platforms, schemas and formats."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003  typer reads these types
from contextlib import suppress

from mc_sink import platforms
from mc_sink.connector import history
from mc_sink.connector.connections import FORMAT_NAMES
from mc_sink.exceptions import SinkError
from mc_sink.presets import PRESETS
from mc_sink.validation import list_schemas

MOST_IDS = 200


def run_ids(incomplete: str) -> Iterator[str]:
    """Yield `last` and the ids of the newest runs, each once, if they begin with a text."""
    ids = [history.LAST]
    with suppress(SinkError):  # a history that can't be read has no words to complete
        ids += dict.fromkeys(run.run_id for run in history.list_runs(limit=MOST_IDS))
    yield from (one for one in ids if one.startswith(incomplete))


def platforms_saved(incomplete: str) -> Iterator[str]:
    """Yield the names of saved platforms that begin with a text."""
    with suppress(SinkError):
        yield from (one.platform.name for one in platforms.list() if one.platform.name.startswith(incomplete))


def schemas(incomplete: str) -> Iterator[str]:
    """Yield the names of the shipped schemas that begin with a text."""
    yield from (name for name in list_schemas() if name.startswith(incomplete))


def formats(incomplete: str) -> Iterator[str]:
    """Yield the names of formats that begin with a text."""
    yield from (name for name in FORMAT_NAMES if name.startswith(incomplete))


def presets(incomplete: str) -> Iterator[str]:
    """Yield the names of the receivers' presets that begin with a text."""
    yield from (name for name in PRESETS if name.startswith(incomplete))
