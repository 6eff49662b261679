"""Sample data for the shipped schemas: any number of valid rows, and one frame for each kind of violation.

Values are computed from the row's number and the seed only. So any number of rows streams in bounded memory, and the
same call always returns the same rows. No value belongs to a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import polars as pl

from mc_sink._frames import from_batches
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_T = TypeVar("_T")
_ROW = "row"
_BATCH = 100_000
_BEGIN = pl.lit("2026-01-01").str.to_datetime(time_unit="us", time_zone="UTC")
_DAYS = 365
_Columns: TypeAlias = "dict[str, pl.Expr]"
_ROWS = 40
_FIRST = pl.int_range(pl.len()) == 0
_ZERO_DEVICE = "00000000-0000-0000-0000-000000000000"


def sample(name: str, rows: int, *, seed: int = 0) -> pl.LazyFrame:
    """Return `rows` valid rows of the shipped schema `name`, computed as they are read.

    Raises `ConfigurationError` for the name of any other schema.

        >>> sample("report", 50_000_000).head(2).collect().height
        2
    """
    feed = _shipped(_FEEDS, name)(seed)

    def batches() -> Iterator[pl.DataFrame]:
        for start in range(0, rows, _BATCH):
            yield _computed(feed, start, min(start + _BATCH, rows))

    return from_batches(batches, _computed(feed, 0, 0).schema)


def _shipped(table: dict[str, _T], name: str) -> _T:
    if name not in table:
        names = ", ".join(sorted(table))
        raise ConfigurationError(f"Sample data is not available for the schema {name!r}. Pass one of {names}.")
    return table[name]


def _computed(feed: _Columns, start: int, end: int) -> pl.DataFrame:
    numbers = pl.int_range(start, end, dtype=pl.Int64, eager=True).alias(_ROW).to_frame()
    return numbers.lazy().select(**feed).collect()


def _audience(seed: int) -> _Columns:
    kind = pl.col(_ROW) % 4
    began = _BEGIN + pl.duration(seconds=_draw(seed, 1) % (_DAYS * 86_400))
    return {
        "external_id": pl.when(kind == 0).then(pl.format("crm-{}", _draw(seed, 2))),
        "email_sha256": pl.when(kind < 2).then(_hex(seed, 3, digits=64)),  # noqa: PLR2004  a part of the rows
        "phone_sha256": pl.when(kind == 2).then(_hex(seed, 4, digits=64)),  # noqa: PLR2004  the same
        "device_id": pl.when(kind == 3).then(_uuid(_hex(seed, 5, digits=32))),  # noqa: PLR2004  the same
        "device_type": pl.when(kind == 3).then(_one_of(seed, 6, ["gaid", "idfa"])),  # noqa: PLR2004  the same
        "segment_id": pl.format("seg_{}", _draw(seed, 7) % 200),
        "action": pl.when(pl.col(_ROW) % 10 == 9).then(pl.lit("remove")).otherwise(pl.lit("add")),  # noqa: PLR2004  the same
        "activated_at": began,
        "expires_at": pl.when(pl.col(_ROW) % 3 == 0).then(began + pl.duration(days=90)),
        "consent": pl.when(pl.col(_ROW) % 10 == 9).then(pl.lit("denied")).otherwise(pl.lit("granted")),  # noqa: PLR2004  the same
    }


def _report(seed: int) -> _Columns:
    impressions = _draw(seed, 1) % 50_000
    clicks = impressions * (_draw(seed, 2) % 50) // 1000
    campaign, ad_group, creative = pl.col(_ROW) // 40 % 25, pl.col(_ROW) // 10 % 4, pl.col(_ROW) % 10
    day = pl.date(2026, 1, 1) + pl.duration(days=pl.col(_ROW) // 1000 % _DAYS)
    account = pl.col(_ROW) // (1000 * _DAYS)
    return {
        "report_date": day,
        "campaign_id": pl.format("c-{}-{}", account, campaign),
        "campaign_name": pl.format("Campaign {}", campaign),
        "ad_group_id": pl.format("g-{}", ad_group),
        "ad_group_name": pl.format("Ad group {}", ad_group),
        "creative_id": pl.format("v-{}", creative),
        "creative_name": pl.when(creative < 9).then(pl.format("Creative {}", creative)),  # noqa: PLR2004  one without a name
        "currency": _one_of(seed, 3, ["EUR", "USD"]),
        "impressions": impressions,
        "clicks": clicks,
        "spend": (impressions * 0.0021 + clicks * 0.35).round(2),
        "conversions": (clicks // 20).cast(pl.Float64),
    }


def _payload(seed: int) -> _Columns:
    happened = _BEGIN + pl.duration(milliseconds=pl.col(_ROW) * 250)
    amount = _draw(seed, 4) % 10_000 / 100
    unique_digits = pl.concat_str(_hex(seed, 9, digits=16), pl.col(_ROW).cast(pl.String).str.zfill(16))
    return {
        "id": _uuid(unique_digits),
        "type": _one_of(seed, 1, ["order.created", "order.shipped", "customer.updated"]),
        "source": _one_of(seed, 2, ["shop", "warehouse"]),
        "event_time": happened,
        "received_at": happened + pl.duration(milliseconds=_draw(seed, 3) % 5000),
        "body": pl.concat_str(pl.lit('{"number": '), pl.col(_ROW), pl.lit(', "amount": '), amount, pl.lit("}")),
    }


def _draw(seed: int, stream: int) -> pl.Expr:
    """Return pseudo-random whole numbers from 0 to 2**31, computed from the row's number."""
    return (_word(seed, stream) % 2**31).cast(pl.Int64)


def _word(seed: int, stream: int, word: int = 0) -> pl.Expr:
    return pl.col(_ROW).hash(seed * 1000 + stream * 10 + word)


def _hex(seed: int, stream: int, *, digits: int) -> pl.Expr:
    """Return up to 96 hexadecimal digits, by decoding decimal digits as base64."""
    words = [_word(seed, stream, word).cast(pl.String).str.zfill(20) for word in range(-(-digits // 30))]
    return pl.concat_str(*words).str.decode("base64").bin.encode("hex").str.slice(0, digits)


def _uuid(digits: pl.Expr) -> pl.Expr:
    """Return 32 hexadecimal digits in the form of a UUID."""
    parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(*parts, separator="-")


def _one_of(seed: int, stream: int, values: Sequence[str]) -> pl.Expr:
    number = _draw(seed, stream) % len(values)
    return number.replace_strict(list(range(len(values))), values, return_dtype=pl.String)


_FEEDS: dict[str, Callable[[int], _Columns]] = {"audience": _audience, "payload": _payload, "report": _report}


def violations(name: str) -> dict[str, pl.DataFrame]:
    """Return frames of 40 rows that the shipped schema `name` refuses, by a description of the violation.

    Where values are wrong, they are those of the first row. In `duplicate …`, the last row equals the first. Raises
    `ConfigurationError` for the name of any other schema.

        >>> violations("report")["clicks are negative"]["clicks"][0]
        -1
    """
    wrong_values = _shipped(_WRONG_VALUES, name)
    valid = sample(name, _ROWS).collect()
    first, *others = valid.columns
    return {
        **{violation: _changed(valid, values) for violation, values in wrong_values.items()},
        **{f"no {column}": _changed(valid, {column: None}) for column in _REQUIRED[name]},
        **{violation: pl.concat([valid.head(-1), valid.head(1)]) for violation in _DUPLICATES.get(name, ())},
        "a column is missing": valid.drop(first),
        "a column is unexpected": valid.with_columns(unexpected=pl.lit(1)),
        "the columns are in another order": valid.select(*others, first),
        "a column has another type": valid.with_columns(
            pl.col(first).cast(pl.Categorical) if valid.schema[first] == pl.String else pl.col(first).cast(pl.String)
        ),
    }


def _changed(valid: pl.DataFrame, values: dict[str, object]) -> pl.DataFrame:
    """Return the rows with other values in the first."""
    first = {name: pl.when(_FIRST).then(pl.lit(value, dtype=valid.schema[name])) for name, value in values.items()}
    return valid.with_columns(value.otherwise(pl.col(name)).alias(name) for name, value in first.items())


_WRONG_VALUES: dict[str, dict[str, dict[str, object]]] = {
    "audience": {
        "external_id is empty": {"external_id": ""},
        "external_id is too long": {"external_id": "x" * 257},
        "email is not hashed": {"email_sha256": "ada@example.com"},
        "hash in capital letters": {"email_sha256": "AB" * 32},
        "phone is not hashed": {"phone_sha256": "+491701234567"},
        "hash too short": {"phone_sha256": "0" * 40},
        "device_id isn't an identifier": {"device_id": "tablet", "device_type": "gaid"},
        "device_id of an opted-out device": {"device_id": _ZERO_DEVICE, "device_type": "idfa"},
        "device_type unknown": {"device_id": f"1{_ZERO_DEVICE[1:]}", "device_type": "fridge"},
        "device_id without a type": {"device_id": f"1{_ZERO_DEVICE[1:]}"},
        "device_type without an id": {"device_type": "gaid"},
        "no identifier at all": dict.fromkeys(
            ["external_id", "email_sha256", "phone_sha256", "device_id", "device_type"]
        ),
        "segment_id with blanks": {"segment_id": "my segment"},
        "action unknown": {"action": "replace"},
        "consent unknown word": {"consent": "yes"},
        "added without consent": {"action": "add", "consent": "denied"},
        "expires before it begins": {"expires_at": pl.Series(["2020-01-01"]).str.to_datetime(time_zone="UTC")[0]},
    },
    "payload": {
        "id isn't a UUID": {"id": "42"},
        "type without a dot": {"type": "order"},
        "type in capital letters": {"type": "Order.Created"},
        "source is empty": {"source": ""},
        "source is too long": {"source": "x" * 129},
        "happens after it is received": {"event_time": pl.Series(["2030-01-01"]).str.to_datetime(time_zone="UTC")[0]},
        "body is not JSON": {"body": '{"number": '},
        "body is a list": {"body": "[1, 2]"},
        "body is empty": {"body": ""},
    },
    "report": {
        "report_date before there were reports": {"report_date": pl.Series(["1970-01-01"]).str.to_date()[0]},
        "campaign_id is empty": {"campaign_id": ""},
        "campaign_id is too long": {"campaign_id": "x" * 129},
        "ad_group_id is empty": {"ad_group_id": ""},
        "creative_id is empty": {"creative_id": ""},
        "currency by its sign": {"currency": "€"},
        "currency in small letters": {"currency": "eur"},
        "impressions are negative": {"impressions": -1, "clicks": -1, "spend": 0.0},
        "clicks are negative": {"clicks": -1},
        "more clicks than impressions": {"impressions": 1, "clicks": 2},
        "spend is negative": {"spend": -0.01},
        "spend is not a number": {"spend": float("nan")},
        "spend is infinite": {"spend": float("inf")},
        "spend where nothing was shown": {"impressions": 0, "clicks": 0, "spend": 1.0},
        "conversions are negative": {"conversions": -1.0},
    },
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "audience": ("segment_id", "action", "activated_at", "consent"),
    "payload": ("id", "type", "source", "event_time", "received_at", "body"),
    "report": (
        "report_date",
        "campaign_id",
        "ad_group_id",
        "creative_id",
        "currency",
        "impressions",
        "clicks",
        "spend",
        "conversions",
    ),
}
_DUPLICATES = {"payload": ("duplicate id",), "report": ("duplicate day and creative",)}
