"""A person's date of birth and gender."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.identity.expressions import as_texts, check_receiver, finished

if TYPE_CHECKING:
    from mc_sink.identity.expressions import Form, IntoColumn, OnImpossible, Receiver

_ONLY_META = ("google", "tiktok", "amazon", "microsoft")
_GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}
_FIRST_YEAR = 1900


def date_of_birth(
    column: IntoColumn,
    *,
    format: str | None = None,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the date of birth of a column as `19970216`, or the hexadecimal SHA-256 of that, as Meta matches it.

    A year before 1900 or after this one is impossible. The other receivers have no rule.

    Arguments:
        column: A column's name, or an expression of dates, datetimes, or texts with `format`.
        format: How texts are written, as in Polars, such as "%m/%d/%Y"; None for dates and datetimes.
        receiver, form, on_impossible: As in `email`. A text in another form is impossible.

        >>> frame = pl.DataFrame({"born": ["2/16/1997", "16.2.1997"]})
        >>> frame.select(date_of_birth("born", format="%m/%d/%Y", form="text")).to_series().to_list()
        ['19970216', None]
    """
    check_receiver(receiver, form, on_impossible, without=_ONLY_META, subject="dates of birth")
    if not isinstance(format, str | None):
        raise ConfigurationError(f'Cannot use format= with a {type(format).__name__}. Give text, such as "%m/%d/%Y".')
    raw = pl.col(column) if isinstance(column, str) else column
    date = raw if format is None else as_texts(raw).str.strip_chars().str.to_date(format, strict=False)
    parts = [date.dt.month(), date.dt.day()]
    text = pl.concat_str(date.dt.year().cast(pl.String), *(part.cast(pl.String).str.zfill(2) for part in parts))
    is_possible = date.dt.year().is_between(_FIRST_YEAR, datetime.now(UTC).year)
    return finished(raw, text, is_possible, form, on_impossible, "a date of birth")


def gender(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the gender of a column as `f` or `m`, or the hexadecimal SHA-256 of that, as Meta matches it.

    `F`, `female`, `M` and `male` in any case are read; every other text is impossible. The other receivers have no
    rule. `receiver`, `form` and `on_impossible` are as in `email`.

        >>> pl.DataFrame({"sex": [" Female", "x"]}).select(gender("sex", form="text")).to_series().to_list()
        ['f', None]
    """
    check_receiver(receiver, form, on_impossible, without=_ONLY_META, subject="genders")
    raw = as_texts(column)
    letter = raw.str.strip_chars().str.to_lowercase().replace_strict(_GENDERS, default=None, return_dtype=pl.String)
    return finished(raw, letter, letter.is_not_null(), form, on_impossible, "a gender")
