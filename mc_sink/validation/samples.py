"""Sample data for the shipped schemas: valid rows without end, and every way in which a row can be wrong.

Values are made from the row's number and the seed alone, so that any number of rows streams in bounded memory and the
same call always gives the same rows. No value belongs to a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from mc_sink._plan import from_batches
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_ROW = "row"
_BATCH = 100_000
_BEGIN = pl.lit("2026-01-01").str.to_datetime(time_unit="us", time_zone="UTC")
_DAYS = 365
_Columns: TypeAlias = "dict[str, pl.Expr]"


def sample(name: str, rows: int, *, seed: int = 0) -> pl.LazyFrame:
    """Return `rows` valid rows of the shipped schema `name`, made as they are read.

    Raises `ConfigurationError` for a name that has no sample.
    """
    if name not in _FEEDS:
        raise ConfigurationError(f"There is no sample {name!r}: give one of {', '.join(sorted(_FEEDS))}.")
    feed = _FEEDS[name](seed)

    def batches() -> Iterator[pl.DataFrame]:
        for start in range(0, rows, _BATCH):
            yield _made(feed, start, min(start + _BATCH, rows))

    return from_batches(batches, _made(feed, 0, 0).schema)


def _made(feed: _Columns, start: int, end: int) -> pl.DataFrame:
    numbers = pl.int_range(start, end, dtype=pl.Int64, eager=True).alias(_ROW).to_frame()
    return numbers.lazy().select(**feed).collect()


def _audience(seed: int) -> _Columns:
    kind = pl.col(_ROW) % 4
    began = _BEGIN + pl.duration(seconds=_draw(seed, 1) % (_DAYS * 86_400))
    return {
        "external_id": pl.when(kind == 0).then(pl.format("crm-{}", _draw(seed, 2))),
        "email_sha256": pl.when(kind < 2).then(_hex(seed, 3, digits=64)),  # noqa: PLR2004  a part of the rows
        "phone_sha256": pl.when(kind == 2).then(_hex(seed, 4, digits=64)),  # noqa: PLR2004  the same
        "device_id": pl.when(kind == 3).then(_uuid(seed, 5)),  # noqa: PLR2004  the same
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
    kind = _one_of(seed, 1, ["order.created", "order.shipped", "customer.updated"])
    return {
        "id": _numbered_uuid(seed),
        "type": kind,
        "source": _one_of(seed, 2, ["shop", "warehouse"]),
        "event_time": happened,
        "received_at": happened + pl.duration(milliseconds=_draw(seed, 3) % 5000),
        "body": pl.concat_str(pl.lit('{"number": '), pl.col(_ROW), pl.lit(', "amount": '), amount, pl.lit("}")),
    }


def _draw(seed: int, stream: int) -> pl.Expr:
    """Return whole numbers from 0 to 2**31, as good as random, from the row's number."""
    return (_word(seed, stream) % 2**31).cast(pl.Int64)


def _word(seed: int, stream: int, word: int = 0) -> pl.Expr:
    return pl.col(_ROW).hash(seed * 1000 + stream * 10 + word)


def _hex(seed: int, stream: int, *, digits: int) -> pl.Expr:
    """Return hexadecimal digits, at most 96, by reading decimal ones as base64."""
    words = [_word(seed, stream, word).cast(pl.String).str.zfill(20) for word in range(-(-digits // 30))]
    return pl.concat_str(*words).str.decode("base64").bin.encode("hex").str.slice(0, digits)


def _uuid(seed: int, stream: int) -> pl.Expr:
    digits = _hex(seed, stream, digits=32)
    return _dashed(digits)


def _numbered_uuid(seed: int) -> pl.Expr:
    """Return identifiers that never repeat: the row's number stands in them."""
    return _dashed(pl.concat_str(_hex(seed, 9, digits=16), pl.col(_ROW).cast(pl.String).str.zfill(16)))


def _dashed(digits: pl.Expr) -> pl.Expr:
    parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(*parts, separator="-")


def _one_of(seed: int, stream: int, values: Sequence[str]) -> pl.Expr:
    number = _draw(seed, stream) % len(values)
    return number.replace_strict(list(range(len(values))), values, return_dtype=pl.String)


_FEEDS: dict[str, Callable[[int], _Columns]] = {"audience": _audience, "payload": _payload, "report": _report}
