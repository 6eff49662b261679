"""Sample data of the customer lists of single receivers, with the header that each of them documents."""

from __future__ import annotations

import polars as pl

from mc_sink.testing.feed import ROW, ZERO_DEVICE, Columns, Feed, as_uuid, draw, hexadecimal, one_of

_DEVICE = f"1{ZERO_DEVICE[1:]}"
_ADDRESS, _NUMBER = "ada@example.com", "+491701234567"
_SHORT, _CAPITALS = "0" * 40, "AB" * 32
_MICROSOFT_ITEM = "Customer List Item"
_HEAD_ROWS = 2  # of Microsoft's bulk file: the version of the format, and the list


def _hash(seed: int, stream: int) -> pl.Expr:
    return hexadecimal(seed, stream, digits=64)


def _rows_with(hashed: pl.Expr, *kinds: int, of: int) -> pl.Expr:
    """Return values in the rows of these kinds, of which one follows the other, and nulls in the others."""
    return pl.when((pl.col(ROW) % of).is_in(kinds)).then(hashed)


def _google(seed: int) -> Columns:
    return {
        "Email": _rows_with(_hash(seed, 1), 0, 2, of=4),
        "Phone": _rows_with(_hash(seed, 2), 1, 2, of=4),
        "First Name": _rows_with(_hash(seed, 3), 2, 3, of=4),
        "Last Name": _rows_with(_hash(seed, 4), 2, 3, of=4),
        "Country": _rows_with(one_of(seed, 5, ["US", "DE", "FR"]), 2, 3, of=4),
        "Zip": _rows_with((10_000 + draw(seed, 6) % 90_000).cast(pl.String), 2, 3, of=4),
    }


def _meta(seed: int) -> Columns:
    place = {name: _rows_with(_hash(seed, 10 + at), 1, of=3) for at, name in enumerate(("ct", "st", "country", "zip"))}
    return {
        "email": _rows_with(_hash(seed, 1), 0, 1, of=3),
        "phone": _rows_with(_hash(seed, 2), 1, of=3),
        "madid": _rows_with(as_uuid(hexadecimal(seed, 3, digits=32)), 2, of=3),
        "fn": _rows_with(_hash(seed, 4), 1, of=3),
        "ln": _rows_with(_hash(seed, 5), 1, of=3),
        **place,
        "dob": _rows_with(_hash(seed, 6), 1, of=3),
        "gen": _rows_with(_hash(seed, 7), 1, of=3),
        "uid": _rows_with((10**15 + draw(seed, 8)).cast(pl.String), 2, of=6),
    }


def _tiktok(seed: int) -> Columns:
    return {
        "Email_SHA256": _rows_with(_hash(seed, 1), 0, of=3),
        "Phone_SHA256": _rows_with(_hash(seed, 2), 0, 1, of=3),
        "MAID": _rows_with(as_uuid(hexadecimal(seed, 3, digits=32)), 2, of=3),
    }


def _amazon(seed: int) -> Columns:
    address = {
        name: _rows_with(_hash(seed, 10 + at), 1, 2, of=3)
        for at, name in enumerate(("address", "city", "state", "zip"))
    }
    return {
        "first_name": _rows_with(_hash(seed, 1), 1, 2, of=3),
        "last_name": _rows_with(_hash(seed, 2), 1, 2, of=3),
        "email": _rows_with(_hash(seed, 3), 0, 1, of=3),
        "phone": _rows_with(_hash(seed, 4), 0, 2, of=3),
        **address,
    }


def _microsoft(seed: int) -> Columns:
    number = pl.col(ROW)
    is_version, is_list, is_item = number == 0, number == 1, number >= _HEAD_ROWS
    nothing = pl.lit(None, dtype=pl.String)
    return {
        "Type": pl.when(is_version)
        .then(pl.lit("Format Version"))
        .when(is_list)
        .then(pl.lit("Customer List"))
        .otherwise(pl.lit(_MICROSOFT_ITEM)),
        "Status": pl.when(is_list).then(pl.lit("Active")),
        "Id": pl.when(is_list).then(pl.lit(-10, dtype=pl.Int64)),
        "Parent Id": pl.when(is_item).then(pl.lit(-10, dtype=pl.Int64)),
        "Client Id": nothing,
        "Modified Time": nothing,
        "Name": pl.when(is_version).then(pl.lit("6.0")),
        "Description": pl.when(is_list).then(pl.lit("Customers of the spring")),
        "Scope": pl.when(is_list).then(pl.lit("Customer")),
        "Audience": pl.when(is_list).then(pl.lit("Spring")),
        "Action Type": pl.when(is_list).then(pl.lit("Add")),
        "Sub Type": pl.when(is_item).then(pl.lit("Email")),
        "Text": pl.when(is_item).then(_hash(seed, 1)),
    }


RECEIVERS: dict[str, Feed] = {
    "amazon_amc": Feed(
        _amazon,
        {
            "first_name is not hashed": {"first_name": "ada", "last_name": "0" * 64},
            "last_name is not hashed": {"first_name": "0" * 64, "last_name": "lovelace"},
            "first_name without last_name": {"first_name": "0" * 64},
            "email is not hashed": {"email": _ADDRESS},
            "phone is not hashed": {"phone": _NUMBER},
            "hash in capital letters": {"email": _CAPITALS},
            "hash too short": {"phone": _SHORT},
            "address is not hashed": {"address": "12 st james square"},
            "city is not hashed": {"city": "london"},
            "state is not hashed": {"state": "ca"},
            "zip is not hashed": {"zip": "94035"},
            "no identifier at all": dict.fromkeys(["first_name", "last_name", "email", "phone", "address"]),
        },
        (),
    ),
    "google_customer_match": Feed(
        _google,
        {
            "email is not hashed": {"Email": _ADDRESS},
            "hash in capital letters": {"Email": _CAPITALS},
            "phone is not hashed": {"Phone": _NUMBER},
            "hash too short": {"Phone": _SHORT},
            "first name is not hashed": {"First Name": "ada"},
            "last name is not hashed": {"Last Name": "lovelace"},
            "country is hashed": {"Country": "0" * 64},
            "zip is hashed": {"Zip": "0" * 64},
            "zip with blanks around it": {"Zip": " 94035"},
            "address without a country": {"First Name": "0" * 64, "Last Name": "0" * 64, "Zip": "94035"},
            "no identifier at all": {"Email": None},
        },
        (),
    ),
    "meta_custom_audience": Feed(
        _meta,
        {
            "email is not hashed": {"email": _ADDRESS},
            "hash in capital letters": {"email": _CAPITALS},
            "phone is not hashed": {"phone": _NUMBER},
            "hash too short": {"phone": _SHORT},
            "madid isn't an identifier": {"madid": "tablet"},
            "madid of an opted-out device": {"madid": ZERO_DEVICE},
            "fn is not hashed": {"fn": "ada"},
            "ln is not hashed": {"ln": "lovelace"},
            "ct is not hashed": {"ct": "london"},
            "st is not hashed": {"st": "ca"},
            "country is not hashed": {"country": "us"},
            "zip is not hashed": {"zip": "94035"},
            "dob is not hashed": {"dob": "19970216"},
            "gen is not hashed": {"gen": "f"},
            "uid isn't a number": {"uid": "ada"},
            "no identifier at all": {"email": None},
        },
        (),
    ),
    "microsoft_customer_list": Feed(
        _microsoft,
        {
            "Type unknown": {"Type": "Customer"},
            "Status unknown": {"Status": "On"},
            "Audience is too long": {"Audience": "x" * 129},
            "Client Id is too long": {"Client Id": "x" * 101},
            "Action Type unknown": {"Action Type": "Delete"},
            "Scope unknown": {"Scope": "All"},
            "Sub Type unknown": {"Parent Id": -10, "Sub Type": "Phone", "Text": "0" * 64},
            "Text is not hashed": {"Parent Id": -10, "Sub Type": "Email", "Text": _ADDRESS},
            "an item without an identifier": {"Type": _MICROSOFT_ITEM, "Name": None},
            "Text without its Sub Type": {"Parent Id": -10, "Text": "0" * 64},
        },
        ("Type",),
    ),
    "tiktok_customer_file": Feed(
        _tiktok,
        {
            "email is not hashed": {"Email_SHA256": _ADDRESS},
            "hash in capital letters": {"Email_SHA256": _CAPITALS},
            "phone is not hashed": {"Phone_SHA256": _NUMBER},
            "hash too short": {"Phone_SHA256": _SHORT},
            "MAID isn't an identifier": {"MAID": "tablet"},
            "MAID in capital letters": {"MAID": _DEVICE.replace("1", "A", 1)},
            "MAID of an opted-out device": {"MAID": ZERO_DEVICE},
            "no identifier at all": {"Email_SHA256": None, "Phone_SHA256": None},
        },
        (),
    ),
}
