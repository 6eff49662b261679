"""Checks of our own, between columns, that a YAML schema can name like Pandera's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandera.polars import Check, PolarsData


def at_most_column(data: PolarsData, column: str, limit: str) -> pl.LazyFrame:
    """Pass a row whose `column` is at most its `limit`."""
    return data.lazyframe.select(pl.col(column) <= pl.col(limit))


def any_present(data: PolarsData, columns: list[str]) -> pl.LazyFrame:
    """Pass a row that has a value in at least one of `columns`."""
    return data.lazyframe.select(pl.any_horizontal(pl.col(columns).is_not_null()))


def all_or_none(data: PolarsData, columns: list[str]) -> pl.LazyFrame:
    """Pass a row that has a value in each of `columns`, or in none of them."""
    return data.lazyframe.select(
        pl.all_horizontal(pl.col(columns).is_null()) | pl.all_horizontal(pl.col(columns).is_not_null())
    )


def allowed_when(data: PolarsData, column: str, allowed: list[Any], when: str, equals: list[Any]) -> pl.LazyFrame:
    """Pass a row whose `column` is one of `allowed`, or whose `when` is none of `equals`."""
    return data.lazyframe.select(pl.col(column).is_in(allowed) | ~pl.col(when).is_in(equals))


def json_object(data: PolarsData) -> pl.LazyFrame:
    """Pass a text that is one JSON object."""
    parsed = pl.col(data.key).str.json_path_match("$")
    return data.lazyframe.select(parsed.is_not_null() & pl.col(data.key).str.starts_with("{"))


_CHECKS = (at_most_column, any_present, all_or_none, allowed_when, json_object)


def register() -> None:
    """Make the checks known to Pandera as `Check.<name>`; its own way of registering works for pandas only."""
    from pandera.polars import Check

    for check in _CHECKS:
        Check.REGISTERED_CUSTOM_CHECKS.setdefault(check.__name__, _named(check))


def _named(function: Callable[..., pl.LazyFrame]) -> Callable[..., Check]:
    from pandera.polars import Check

    def build(**statistics: Any) -> Check:
        given = ", ".join(f"{name}={value!r}" for name, value in statistics.items())
        return Check(function, name=function.__name__, error=f"{function.__name__}({given})", **statistics)

    return build
