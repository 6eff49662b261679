"""Every kind of violation of the shipped schemas, as small frames that are right but for one thing."""

from __future__ import annotations

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.samples import sample

_ROWS = 40
_FIRST = pl.int_range(pl.len()) == 0
_ZERO_DEVICE = "00000000-0000-0000-0000-000000000000"


def violations(name: str) -> dict[str, pl.DataFrame]:
    """Return frames of 40 rows that the shipped schema `name` refuses, by what is wrong with them.

    Where values are wrong it is the first row that is; `duplicate …` has its first row again as its last. Raises
    `ConfigurationError` for a name that has no sample.
    """
    if name not in _WRONG_VALUES:
        raise ConfigurationError(
            f"There are no violations of {name!r}: give one of {', '.join(sorted(_WRONG_VALUES))}."
        )
    valid = sample(name, _ROWS).collect()
    values = {what: _broken(valid, wrong) for what, wrong in _WRONG_VALUES[name].items()}
    again = {what: pl.concat([valid.head(-1), valid.head(1)]) for what in _DUPLICATES.get(name, ())}
    return {**values, **_missing(name, valid), **again, **_wrong_columns(valid)}


def _broken(valid: pl.DataFrame, wrong: dict[str, object]) -> pl.DataFrame:
    changes = (
        pl.when(_FIRST).then(pl.lit(value, dtype=valid.schema[c])).otherwise(pl.col(c)) for c, value in wrong.items()
    )
    return valid.with_columns(change.alias(column) for column, change in zip(wrong, changes, strict=True))


def _missing(name: str, valid: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {f"no {column}": _broken(valid, {column: None}) for column in _REQUIRED[name]}


def _wrong_columns(valid: pl.DataFrame) -> dict[str, pl.DataFrame]:
    first, *others = valid.columns
    return {
        "a column is missing": valid.drop(first),
        "a column is unexpected": valid.with_columns(unexpected=pl.lit(1)),
        "the columns are in another order": valid.select(*others, first),
        "a column has another type": valid.with_columns(
            pl.col(first).cast(pl.Categorical) if valid.schema[first] == pl.String else pl.col(first).cast(pl.String)
        ),
    }


_WRONG_VALUES: dict[str, dict[str, dict[str, object]]] = {
    "audience": {
        "external_id is empty": {"external_id": ""},
        "external_id is too long": {"external_id": "x" * 257},
        "email is not hashed": {"email_sha256": "ada@example.com"},
        "hash in capital letters": {"email_sha256": "AB" * 32},
        "phone is not hashed": {"phone_sha256": "+491701234567"},
        "hash too short": {"phone_sha256": "0" * 40},
        "device_id is no identifier": {"device_id": "tablet", "device_type": "gaid"},
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
        "id is no UUID": {"id": "42"},
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
