"""Identities: the examples of the receivers' own documents, nothing hashed that is nothing, and the engine's plan."""

from __future__ import annotations

import doctest
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mc_sink
from mc_sink import identity
from mc_sink.exceptions import ConfigurationError
from mc_sink.identity import birth, expressions, persons, places

if TYPE_CHECKING:
    from collections.abc import Callable

META = "https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/customer-information-parameters"
GOOGLE = "https://developers.google.com/data-manager/api/get-started/formatting"
GOOGLE_LIST = "https://support.google.com/google-ads/answer/7659867"
TIKTOK = "https://ads.tiktok.com/help/article/list-of-supported-ids-and-formats-for-a-customer-file"
TIKTOK_HASHES = "https://ads.tiktok.com/help/article/how-to-create-a-custom-audience-with-a-customer-file"
SNAP = "https://developers.snap.com/api/marketing-api/Conversions-API/Parameters"
MICROSOFT = "https://learn.microsoft.com/en-us/advertising/bulk-service/customer-list-item"
AMAZON = "https://github.com/aws-solutions/amazon-marketing-cloud-uploader-from-aws"
DOCS = (Path(__file__).parents[1] / "docs" / "identity.md").read_text(encoding="utf-8")
EMPTY = hashlib.sha256(b"").hexdigest()
EVERY: dict[str, Callable[..., pl.Expr]] = {
    "email": identity.email,
    "phone": identity.phone,
    "first_name": identity.first_name,
    "last_name": identity.last_name,
    "postal_code": identity.postal_code,
    "country": identity.country,
}


def one(expression: pl.Expr, value: object) -> Any:
    """Return the value of an expression over a frame of one cell."""
    return pl.DataFrame({"x": [value]}).select(expression).item()


@pytest.mark.parametrize(
    ("page", "kind", "options", "text", "normal", "hashed"),
    [
        (META, "email", {"receiver": "meta"}, "John_Smith@gmail.com", "john_smith@gmail.com",
         "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"),
        (META, "phone", {"receiver": "meta", "country": "US"}, "(650)555-1212", "16505551212",
         "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
        (META, "first_name", {"receiver": "meta"}, "Mary", "mary",
         "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"),
        (META, "first_name", {"receiver": "meta"}, "정", "정",
         "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14"),
        (META, "last_name", {"receiver": "meta"}, "Valéry", "valéry",
         "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"),
        (META, "country", {"receiver": "meta"}, "US", "us",
         "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"),
        (SNAP, "email", {}, "Person@Example.com", "person@example.com",
         "542d240129883c019e106e3b1b2d3f3cb3537c43c425364de8e951d5a3083345"),
        (MICROSOFT, "email", {"receiver": "microsoft"}, "test@contoso.com", "test@contoso.com",
         "f25ad364d33972379a7a4f4df33db142205f5c40eb19cfdb2fc5aaf117e10101"),
        (TIKTOK_HASHES, "email", {"receiver": "tiktok"}, " janedoe@gmail.com", "janedoe@gmail.com",
         "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"),
    ],
)  # fmt: skip
def test_the_hashes_of_the_documents_are_made(  # noqa: PLR0913, PLR0917  the parts of one example
    page: str, kind: str, options: dict[str, Any], text: str, normal: str, hashed: str
) -> None:
    """Each is an input, its normalised form and its hash as the receiver's page prints them."""
    assert page in DOCS
    assert one(EVERY[kind]("x", form="text", **options), text) == normal
    assert one(EVERY[kind]("x", form="sha256", **options), text) == hashed


@pytest.mark.parametrize(
    ("page", "kind", "options", "text", "normal"),
    [
        (GOOGLE, "email", {"receiver": "google"}, "Jane.Doe@Gmail.com", "janedoe@gmail.com"),
        (GOOGLE, "email", {"receiver": "google"}, " jane.doe+list@googlemail.com ", "janedoe+list@googlemail.com"),
        (GOOGLE, "email", {"receiver": "google"}, "jane.doe@example.com", "jane.doe@example.com"),
        (GOOGLE, "email", {"receiver": "google"}, "jane. doe@example.com", "jane.doe@example.com"),
        (GOOGLE, "phone", {"receiver": "google", "country": "US"}, "(800)555-0100", "+18005550100"),
        (GOOGLE, "postal_code", {"receiver": "google"}, " WC2H 8LG", "WC2H 8LG"),
        (GOOGLE_LIST, "phone", {"receiver": "google", "country": "US"}, "1-800-888-8888", "+18008888888"),
        (GOOGLE_LIST, "phone", {"receiver": "google", "country": "US"}, "1(800)888-8888", "+18008888888"),
        (TIKTOK, "email", {"receiver": "tiktok"}, "firstname-lastname@gmail.com", "firstname-lastname@gmail.com"),
        (TIKTOK, "email", {"receiver": "tiktok"}, "name+tag@gmail.com", "name@gmail.com"),
        (TIKTOK, "phone", {"receiver": "tiktok"}, "+44 2071838750", "+442071838750"),
        (TIKTOK, "phone", {"receiver": "tiktok", "country": "US"}, "(657)777-0000", "+16577770000"),
        (TIKTOK, "phone", {"receiver": "tiktok", "country": "AM"}, "374-93-828222", "+37493828222"),
        (SNAP, "phone", {"receiver": "meta"}, "+44 844 412 4653", "448444124653"),
        (META, "postal_code", {"receiver": "meta", "country": "US"}, "94035-1234", "94035"),
        (META, "postal_code", {"receiver": "meta", "country": "GB"}, "M1 1AE", "m11ae"),
        (META, "postal_code", {"receiver": "meta", "country": "FR"}, "75018", "75018"),
        (AMAZON, "email", {"receiver": "amazon"}, "i'mthere's@example.com", "imtheres@example.com"),
        (AMAZON, "phone", {"receiver": "amazon", "country": "DE"}, "0170 1234567", "491701234567"),
        (AMAZON, "last_name", {"receiver": "amazon"}, "Müller-Groß", "muellergross"),
        (AMAZON, "postal_code", {"receiver": "amazon", "country": "CA"}, "a1a 1a1", "a1a1a1"),
    ],
)  # fmt: skip
def test_the_rules_of_the_documents_are_followed(
    page: str, kind: str, options: dict[str, Any], text: str, normal: str
) -> None:
    """The page is one of those that the documentation names; its rule makes this of the text."""
    assert page in DOCS
    assert one(EVERY[kind]("x", form="text", **options), text) == normal
    assert one(EVERY[kind]("x", form="sha256", **options), text) == hashlib.sha256(normal.encode()).hexdigest()


@pytest.mark.parametrize("receiver", [None, "google", "meta", "amazon"])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("value", [None, "", "   ", "\t\n", "\u200b", "-", "@", "--@--"])
def test_nothing_is_never_hashed(kind: str, receiver: str | None, value: str | None) -> None:
    """A null stays null, and a text that identifies no person becomes null, not the hash of an empty text."""
    assert one(EVERY[kind]("x", receiver=receiver, form="sha256"), value) is None
    assert one(EVERY[kind]("x", receiver=receiver, form="text"), value) is None


@pytest.mark.parametrize(
    "text", ["ada", "ada@", "@b.de", "a@b", "a b@c.de", "a@b..de", "a@.de", "a@b@c.de", "a\u200b@b.de"]
)
def test_what_is_not_an_address_is_null(text: str) -> None:
    """Also with a blank or an invisible character within it, which no receiver's own hash has."""
    assert one(identity.email("x"), text) is None


@pytest.mark.parametrize("text", ["ada@x.de", "12", "555-0100", "+1 23", "12345678901234567890", "0", "+"])
def test_what_is_not_a_phone_number_is_null(text: str) -> None:
    """Neither words, nor too few or too many digits, nor a number that lacks its area code."""
    assert one(identity.phone("x", country="US"), text) is None


def test_numbers_need_a_country() -> None:
    """A number without a country code is read in the country that was given, per row where that is a column."""
    frame = pl.DataFrame({
        "phone": ["0170 1234567", "(650)555-1212", "+44 844 412 4653", "0170 1234567", "0170 1234567", "020 7183 8750"],
        "place": ["DE", "us", None, None, "XX", "UK"],
    })  # fmt: skip
    per_row = identity.phone("phone", country=pl.col("place"), form="text")
    expected = ["+491701234567", "+16505551212", "+448444124653", None, None, "+442071838750"]
    assert frame.select(per_row).to_series().to_list() == expected
    assert frame.select(identity.phone("phone", form="text")).to_series().drop_nulls().to_list() == ["+448444124653"]
    assert one(identity.phone("x", country="DE", form="text"), 1701234567) == "+491701234567"


@pytest.mark.parametrize("kind", EVERY)
def test_a_column_keeps_its_name(kind: str) -> None:
    """As with Polars' own expressions, whatever the column's name."""
    for name in ("x", "country", "number"):
        for form in ("text", "sha256"):
            made = pl.DataFrame({name: ["+491701234567"], "other": ["DE"]}).select(
                EVERY[kind](name, form=form), pl.col("other")
            )
            assert made.columns == [name, "other"]
    per_row = identity.phone("country", country=pl.col("country"), form="text")
    assert pl.DataFrame({"country": ["+491701234567"]}).select(per_row).rows(named=True) == [
        {"country": "+491701234567"}
    ]


def test_a_postal_code_is_cut_by_the_country_of_its_row() -> None:
    """A code of another country keeps its length."""
    frame = pl.DataFrame({"zip": ["94035-1234", "940351234"], "place": ["US", "FR"]})
    cut = frame.select(identity.postal_code("zip", country=pl.col("place"), form="text")).to_series()
    assert cut.to_list() == ["94035", "940351234"]


@pytest.mark.parametrize("kind", EVERY)
def test_an_impossible_value_is_an_error_where_that_is_asked_for(kind: str) -> None:
    """The error counts the values and shows none of them; a null is left as it is."""
    impossible = "--@--canary" if kind in {"email", "phone", "country"} else "--…"
    frame = pl.DataFrame({"x": [None, impossible]})
    expression = EVERY[kind]("x", on_impossible="raise")
    with pytest.raises(ValueError, match="at least 1 value of it can't be read as a") as raised:
        frame.lazy().select(expression).collect(engine="streaming")
    assert "canary" not in str(raised.value)
    assert frame.head(1).select(expression).item() is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: identity.email("x", receiver="facebook"), "Cannot use receiver='facebook'"),  # type: ignore[arg-type]
        (lambda: identity.email("x", form="hex"), "Cannot use form='hex'"),  # type: ignore[arg-type]
        (lambda: identity.email("x", on_impossible="drop"), "Cannot use on_impossible='drop'"),  # type: ignore[arg-type]
        (lambda: identity.phone("x", country="Germany"), "country='Germany' is not a country's code"),
        (lambda: identity.postal_code("x", country="1"), "country='1' is not a country's code"),
        (lambda: identity.phone("x", receiver="microsoft"), "documents no rule for phone numbers"),
        (lambda: identity.first_name("x", receiver="tiktok"), "documents no rule for names"),
        (lambda: identity.postal_code("x", receiver="microsoft"), "documents no rule for postal codes"),
        (lambda: identity.country("x", receiver="tiktok"), "documents no rule for countries"),
    ],
)
def test_an_option_that_is_not_known_is_refused(call: Callable[[], pl.Expr], words: str) -> None:
    """When the expression is made, before any row."""
    with pytest.raises(ConfigurationError, match=words):
        call()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.sampled_from([None, "google", "meta", "amazon", "tiktok", "microsoft"]))
def test_every_hash_is_that_of_a_whole_address(text: str, receiver: identity.Receiver | None) -> None:
    """The text form of any input is null or an address; normalising it again changes nothing; the hash is its hash."""
    normal = one(identity.email("x", receiver=receiver, form="text"), text)
    hashed = one(identity.email("x", receiver=receiver), text)
    if normal is None:
        assert hashed is None
        return
    assert normal.count("@") == 1
    assert hashed == hashlib.sha256(normal.encode()).hexdigest() != EMPTY
    assert one(identity.email("x", receiver=receiver, form="text"), normal) == normal


def test_an_audience_of_raw_addresses_becomes_one_that_may_leave(tmp_path: Path) -> None:
    """The expressions stream, keep their column's name where asked, and the delivered file holds hashes only."""
    raw = pl.LazyFrame({"email": [f"Person{number}@Example.com" for number in range(5_000)]})
    frame = raw.select(identity.email("email"))
    assert frame.collect_schema() == {"email": pl.String}
    receipt = mc_sink.sink_madconnect(frame, tmp_path / "audience.csv", progress=False)
    assert receipt.num_rows == 5_000
    expected = [hashlib.sha256(f"person{number}@example.com".encode()).hexdigest() for number in range(5_000)]
    assert pl.read_csv(tmp_path / "audience.csv")["email"].to_list() == expected


@pytest.mark.parametrize(
    ("library", "call"), [("polars_hash", "identity.email('x')"), ("phonenumbers", "identity.phone('x')")]
)
def test_a_missing_library_is_named(library: str, call: str) -> None:
    """Before the query runs, with what to install."""
    code = f"import sys; sys.modules[{library!r}] = None\nfrom mc_sink import identity\n{call}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    name = library.replace("_", "-")
    assert f"Identities need the library {name}. Install it: pip install 'mc-sink[identity]'" in ended.stderr


def test_the_examples_hold() -> None:
    """The docstrings of `mc_sink.identity` are run."""
    found = [doctest.testmod(module) for module in (birth, expressions, persons, places)]
    assert (sum(one.failed for one in found), sum(one.attempted for one in found)) == (0, 13)
