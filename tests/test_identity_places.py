"""Identities of place and birth: the examples of the receivers' own documents, and nothing hashed that is nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink import identity
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

META = "https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/customer-information-parameters"
GOOGLE = "https://developers.google.com/google-ads/api/reference/rpc/latest/OfflineUserAddressInfo"
AMAZON = "https://github.com/aws-solutions/amazon-marketing-cloud-uploader-from-aws"
DOCS = (Path(__file__).parents[1] / "docs" / "identity.md").read_text(encoding="utf-8")
EVERY: dict[str, Callable[..., pl.Expr]] = {
    "city": identity.city,
    "state": identity.state,
    "street": identity.street,
    "date_of_birth": identity.date_of_birth,
    "gender": identity.gender,
}
OF_TEXTS: dict[str, dict[str, Any]] = {"date_of_birth": {"format": "%m/%d/%Y"}}


def one(expression: pl.Expr, value: object) -> Any:
    """Return the value of an expression over a frame of one cell."""
    return pl.DataFrame({"x": [value]}).select(expression).item()


@pytest.mark.parametrize(
    ("page", "kind", "options", "text", "normal"),
    [
        (META, "date_of_birth", {"receiver": "meta", "format": "%m/%d/%Y"}, "2/16/1997", "19970216"),
        (META, "gender", {"receiver": "meta"}, "F", "f"),
        (META, "gender", {"receiver": "meta"}, "male", "m"),
        (META, "city", {"receiver": "meta"}, "Paris", "paris"),
        (META, "city", {"receiver": "meta"}, "New York", "newyork"),
        (META, "city", {"receiver": "meta"}, "St. John's (Nfld.)", "stjohnsnfld"),
        (META, "city", {"receiver": "meta"}, "São Paulo", "sãopaulo"),
        (META, "state", {"receiver": "meta", "country": "US"}, "AZ", "az"),
        (META, "state", {"receiver": "meta", "country": "US"}, "California", "ca"),
        (META, "state", {"receiver": "meta", "country": "us"}, "New York", "ny"),
        (META, "state", {"receiver": "meta", "country": "GB"}, "Greater London", "greaterlondon"),
        (GOOGLE, "street", {"receiver": "google"}, " 1600 Amphitheatre Pkwy ", "1600 amphitheatre pkwy"),
        (AMAZON, "city", {"receiver": "amazon"}, "St. John's", "stjohns"),
        (AMAZON, "state", {"receiver": "amazon", "country": "US"}, "North Carolina", "nc"),
        (AMAZON, "state", {"receiver": "amazon", "country": "CA"}, "British Columbia", "bc"),
        (AMAZON, "state", {"receiver": "amazon", "country": "DE"}, "BY", "by"),
        (AMAZON, "state", {"receiver": "amazon", "country": "JP"}, "Tokyo", "to"),
    ],
)  # fmt: skip
def test_the_rules_of_the_documents_are_followed(
    page: str, kind: str, options: dict[str, Any], text: str, normal: str
) -> None:
    """The page is one of those that the documentation names; its rule makes this of the text."""
    assert page in DOCS
    assert one(EVERY[kind]("x", form="text", **options), text) == normal
    assert one(EVERY[kind]("x", form="sha256", **options), text) == hashlib.sha256(normal.encode()).hexdigest()


def test_the_hash_of_meta_s_page_is_made() -> None:
    """The one that it prints, for a date of birth; of a text, a date and a moment alike."""
    printed = "01acdbf6ec7b4f478a225f1a246e5d6767eeab1a7ffa17f025265b5b94f40f0c"
    born = dt.datetime(1997, 2, 16, 23, 30, tzinfo=dt.UTC)
    assert one(identity.date_of_birth("x", format="%m/%d/%Y"), "2/16/1997") == printed
    assert one(identity.date_of_birth("x"), born.date()) == printed
    assert one(identity.date_of_birth("x"), born) == printed


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("value", [None, "", "   ", "\t\n", "\u200b", "-", "@"])
def test_nothing_is_never_hashed(kind: str, value: str | None) -> None:
    """A null stays null, and a text that identifies nothing becomes null, not the hash of an empty text."""
    options = OF_TEXTS.get(kind, {})
    frame = pl.DataFrame({"x": [value]}, schema={"x": pl.String})
    for form in ("sha256", "text"):
        assert frame.select(EVERY[kind]("x", form=form, **options)).item() is None
    if kind == "state":
        for receiver, place in (("amazon", "US"), ("amazon", "DE"), ("meta", "US")):
            assert frame.select(identity.state("x", receiver=receiver, country=place)).item() is None  # type: ignore[arg-type]


@pytest.mark.parametrize("born", ["2/30/1997", "12/31/1899", "1/1/2999", "1997-02-16", "2/16/97", "x", "19970216"])
def test_what_is_no_date_of_birth_is_null(born: str) -> None:
    """No such day, before 1900, in years to come, or in another form."""
    assert one(identity.date_of_birth("x", format="%m/%d/%Y"), born) is None


def test_dates_beyond_every_calendar_are_null() -> None:
    """The first and the last that a column can hold; no query breaks down."""
    far = pl.Series("x", [2**31 - 1, -(2**31), None, 0], dtype=pl.Int32).cast(pl.Date).to_frame()
    assert far.select(identity.date_of_birth("x", form="text")).to_series().to_list() == [None, None, None, "19700101"]


@pytest.mark.parametrize("text", ["Bavaria", "California (north)", "calif", "x"])
def test_what_is_no_state_of_its_country_is_null(text: str) -> None:
    """In the United States, and by Amazon's rules where names aren't known."""
    assert one(identity.state("x", country="US"), text) is None
    assert text == "x" or one(identity.state("x", country="DE", receiver="amazon"), text) is None


def test_a_state_is_read_in_the_country_of_its_row() -> None:
    """CA is California, or the text that it is elsewhere."""
    frame = pl.DataFrame({"x": ["California", "Ontario", "Bayern"], "place": ["us", "CA", "DE"]})
    found = frame.select(identity.state("x", country=pl.col("place"), form="text")).to_series().to_list()
    assert found == ["ca", "ontario", "bayern"]
    amazon = frame.select(identity.state("x", country=pl.col("place"), receiver="amazon", form="text"))
    assert amazon.to_series().to_list() == ["ca", "on", None]


@pytest.mark.parametrize("kind", EVERY)
def test_a_column_keeps_its_name_and_streams(kind: str) -> None:
    """As Polars' own expressions do; an impossible value is an error where that is asked for, and isn't shown."""
    options = OF_TEXTS.get(kind, {})
    frame = pl.DataFrame({"country": [None, "--…canary…--" if kind in {"gender", "date_of_birth"} else "--…"]})
    expression = EVERY[kind]("country", on_impossible="raise", **options)
    assert frame.head(1).select(expression).columns == ["country"]
    with pytest.raises(ValueError, match="at least 1 value of it can't be read as a") as raised:
        frame.lazy().select(expression).collect(engine="streaming")
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: identity.city("x", receiver="google"), "documents no rule for cities"),
        (lambda: identity.state("x", receiver="tiktok"), "documents no rule for states"),
        (lambda: identity.street("x", receiver="amazon"), "documents no rule for streets that is made here"),
        (lambda: identity.date_of_birth("x", receiver="google"), "documents no rule for dates of birth"),
        (lambda: identity.gender("x", receiver="microsoft"), "documents no rule for genders"),
        (lambda: identity.state("x", country="Germany"), "country='Germany' is not a country's code"),
        (lambda: identity.date_of_birth("x", format=7), "Cannot use format= with a int"),  # type: ignore[arg-type]
    ],
)
def test_an_option_that_is_not_known_is_refused(call: Callable[[], pl.Expr], words: str) -> None:
    """When the expression is made, before any row."""
    with pytest.raises(ConfigurationError, match=words):
        call()
