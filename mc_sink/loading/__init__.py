"""Write the statement by which a receiver loads a delivery, from the dialect that its files were written in.

Where a receiver can't read a file as it is, the statement is refused. Where it reads values as others, such as a null
as an empty text, a comment above the statement says so. docs/loading.md has what was run here and what was not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.loading.delivered import Delivered
from mc_sink.loading.python_readers import pandas_code, spark_code
from mc_sink.loading.sql_readers import clickhouse, duckdb
from mc_sink.loading.warehouses import athena, bigquery, databricks, redshift, snowflake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mc_sink.content import Content

__all__ = ["DIALECTS", "load_statement"]

DIALECTS: dict[str, Callable[[Delivered], str]] = {
    "redshift": redshift,
    "snowflake": snowflake,
    "bigquery": bigquery,
    "athena": athena,
    "databricks": databricks,
    "clickhouse": clickhouse,
    "duckdb": duckdb,
    "spark": spark_code,
    "pandas": pandas_code,
}
# Names, each plain or in quotes, with dots between.
_NAME = r"""[^\W\d][\w$-]*|"(?:[^"\x00-\x1f]|"")+"|`[^`\x00-\x1f]+`"""
_TABLE = re.compile(rf"(?:{_NAME})(?:\.(?:{_NAME}))*")


def load_statement(  # noqa: PLR0913, PLR0917  the facts of a delivery
    content: Content | None,
    target: str,
    files: Mapping[str, Mapping[str, str | None] | None],
    manifest: str | None,
    table: str,
    dialect: str | None = None,
    access: str | None = None,
) -> str:
    """Return the statement by which a receiver loads a delivery into a table.

    `files` are the URLs with the values of their partitions; an empty mapping marks a URL that is not known. Raises
    `ConfigurationError` for an unknown dialect, and where the receiver can't read the files as they are.
    """
    if content is None:
        raise ConfigurationError(
            "The record of this delivery doesn't have the dialect of its files: an earlier version wrote it. Use the "
            "receipt or record of a later delivery."
        )
    chosen = content.preset if dialect is None else dialect
    if chosen not in DIALECTS:
        shown = f"dialect={dialect!r}" if dialect else f"The preset {chosen!r}" if chosen else "A delivery by no preset"
        advice = nearest(chosen, DIALECTS) if isinstance(chosen, str) else ""
        raise ConfigurationError(f"{shown} has no load statement. Give one of {', '.join(DIALECTS)}.{advice}")
    if not _TABLE.fullmatch(table):
        raise ConfigurationError(
            f"table={table!r} is not the name of a table. Write it as the receiver does, with quotes around a part "
            "that needs them."
        )
    if not files:
        raise ConfigurationError("The delivery has no file, so nothing can be loaded. Use one that has.")
    if content.encryption:
        raise ConfigurationError(
            f"Cannot write a load statement for {chosen}: the files are encrypted with {content.encryption.kind}. "
            "Decrypt them first, and load the clear files."
        )
    return DIALECTS[chosen](Delivered(content, target, dict(files), manifest, table, chosen, access))
