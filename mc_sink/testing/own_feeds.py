"""Sample data of the feeds that are not those of one receiver: audiences, reports and payloads."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from mc_sink.testing.feed import BEGIN, DAYS, ROW, ZERO_DEVICE, Columns, Feed, as_uuid, draw, hexadecimal, one_of


def _audience(seed: int) -> Columns:
    kind = pl.col(ROW) % 4
    began = BEGIN + pl.duration(seconds=draw(seed, 1) % (DAYS * 86_400))
    return {
        "external_id": pl.when(kind == 0).then(pl.format("crm-{}", draw(seed, 2))),
        "email_sha256": pl.when(kind < 2).then(hexadecimal(seed, 3, digits=64)),  # noqa: PLR2004  a part of the rows
        "phone_sha256": pl.when(kind == 2).then(hexadecimal(seed, 4, digits=64)),  # noqa: PLR2004  the same
        "device_id": pl.when(kind == 3).then(as_uuid(hexadecimal(seed, 5, digits=32))),  # noqa: PLR2004  the same
        "device_type": pl.when(kind == 3).then(one_of(seed, 6, ["gaid", "idfa"])),  # noqa: PLR2004  the same
        "segment_id": pl.format("seg_{}", draw(seed, 7) % 200),
        "action": pl.when(pl.col(ROW) % 10 == 9).then(pl.lit("remove")).otherwise(pl.lit("add")),  # noqa: PLR2004  the same
        "activated_at": began,
        "expires_at": pl.when(pl.col(ROW) % 3 == 0).then(began + pl.duration(days=90)),
        "consent": pl.when(pl.col(ROW) % 10 == 9).then(pl.lit("denied")).otherwise(pl.lit("granted")),  # noqa: PLR2004  the same
    }


def _report(seed: int) -> Columns:
    impressions = draw(seed, 1) % 50_000
    clicks = impressions * (draw(seed, 2) % 50) // 1000
    campaign, ad_group, creative = pl.col(ROW) // 40 % 25, pl.col(ROW) // 10 % 4, pl.col(ROW) % 10
    day = pl.date(2026, 1, 1) + pl.duration(days=pl.col(ROW) // 1000 % DAYS)
    account = pl.col(ROW) // (1000 * DAYS)
    return {
        "report_date": day,
        "campaign_id": pl.format("c-{}-{}", account, campaign),
        "campaign_name": pl.format("Campaign {}", campaign),
        "ad_group_id": pl.format("g-{}", ad_group),
        "ad_group_name": pl.format("Ad group {}", ad_group),
        "creative_id": pl.format("v-{}", creative),
        "creative_name": pl.when(creative < 9).then(pl.format("Creative {}", creative)),  # noqa: PLR2004  one without a name
        "currency": one_of(seed, 3, ["EUR", "USD"]),
        "impressions": impressions,
        "clicks": clicks,
        "spend": (impressions * 0.0021 + clicks * 0.35).round(2),
        "conversions": (clicks // 20).cast(pl.Float64),
    }


def _payload(seed: int) -> Columns:
    happened = BEGIN + pl.duration(milliseconds=pl.col(ROW) * 250)
    amount = draw(seed, 4) % 10_000 / 100
    unique_digits = pl.concat_str(hexadecimal(seed, 9, digits=16), pl.col(ROW).cast(pl.String).str.zfill(16))
    return {
        "id": as_uuid(unique_digits),
        "type": one_of(seed, 1, ["order.created", "order.shipped", "customer.updated"]),
        "source": one_of(seed, 2, ["shop", "warehouse"]),
        "event_time": happened,
        "received_at": happened + pl.duration(milliseconds=draw(seed, 3) % 5000),
        "body": pl.concat_str(pl.lit('{"number": '), pl.col(ROW), pl.lit(', "amount": '), amount, pl.lit("}")),
    }


OWN: dict[str, Feed] = {
    "audience": Feed(
        _audience,
        {
            "external_id is empty": {"external_id": ""},
            "external_id is too long": {"external_id": "x" * 257},
            "email is not hashed": {"email_sha256": "ada@example.com"},
            "hash in capital letters": {"email_sha256": "AB" * 32},
            "phone is not hashed": {"phone_sha256": "+491701234567"},
            "hash too short": {"phone_sha256": "0" * 40},
            "device_id isn't an identifier": {"device_id": "tablet", "device_type": "gaid"},
            "device_id of an opted-out device": {"device_id": ZERO_DEVICE, "device_type": "idfa"},
            "device_type unknown": {"device_id": f"1{ZERO_DEVICE[1:]}", "device_type": "fridge"},
            "device_id without a type": {"device_id": f"1{ZERO_DEVICE[1:]}"},
            "device_type without an id": {"device_type": "gaid"},
            "no identifier at all": dict.fromkeys(
                ["external_id", "email_sha256", "phone_sha256", "device_id", "device_type"]
            ),
            "segment_id with blanks": {"segment_id": "my segment"},
            "action unknown": {"action": "replace"},
            "consent unknown word": {"consent": "yes"},
            "added without consent": {"action": "add", "consent": "denied"},
            "expires before it begins": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        },
        ("segment_id", "action", "activated_at", "consent"),
    ),
    "payload": Feed(
        _payload,
        {
            "id isn't a UUID": {"id": "42"},
            "type without a dot": {"type": "order"},
            "type in capital letters": {"type": "Order.Created"},
            "source is empty": {"source": ""},
            "source is too long": {"source": "x" * 129},
            "happens after it is received": {"event_time": datetime(2030, 1, 1, tzinfo=UTC)},
            "body is not JSON": {"body": '{"number": '},
            "body is a list": {"body": "[1, 2]"},
            "body is empty": {"body": ""},
        },
        ("id", "type", "source", "event_time", "received_at", "body"),
        ("duplicate id",),
    ),
    "report": Feed(
        _report,
        {
            "report_date before there were reports": {"report_date": date(1970, 1, 1)},
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
        (
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
        ("duplicate day and creative",),
    ),
}
