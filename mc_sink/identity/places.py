"""Where a person lives: postal codes, countries, cities, states and streets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink.identity.expressions import COUNTRIES, as_texts, check_receiver, country_code, finished, is_in

if TYPE_CHECKING:
    from mc_sink.identity.expressions import Form, IntoColumn, OnImpossible, Receiver


def _codes(table: str) -> dict[str, str]:
    """Return the code of each name, from a table of codes and names."""
    words = table.split()
    return dict(zip(words[1::2], words[::2], strict=True))


_NO_PLACES = ("google", "tiktok", "microsoft")
_UNNAMED, _NOT_ASCII = r"[^\p{L}\p{M}\p{N}]", r"[^a-z0-9]"
_CODE = 2
US_STATES = _codes("""
al alabama ak alaska az arizona ar arkansas ca california co colorado ct connecticut de delaware dc districtofcolumbia
fl florida ga georgia hi hawaii id idaho il illinois in indiana ia iowa ks kansas ky kentucky la louisiana me maine
md maryland ma massachusetts mi michigan mn minnesota ms mississippi mo missouri mt montana ne nebraska nv nevada
nh newhampshire nj newjersey nm newmexico ny newyork nc northcarolina nd northdakota oh ohio ok oklahoma or oregon
pa pennsylvania ri rhodeisland sc southcarolina sd southdakota tn tennessee tx texas ut utah vt vermont va virginia
wa washington wv westvirginia wi wisconsin wy wyoming as americansamoa gu guam mp northernmarianaislands pr puertorico
vi usvirginislands
""")
CANADIAN_PROVINCES = _codes("""
ab alberta bc britishcolumbia mb manitoba nb newbrunswick nl newfoundlandandlabrador nt northwestterritories
ns novascotia nu nunavut on ontario pe princeedwardisland qc quebec sk saskatchewan yt yukon
""")
_LENGTHS = {"us": 5, "ca": 6, "gb": 7, "in": 6, "jp": 7}  # of a postal code at Amazon


def postal_code(
    column: IntoColumn,
    *,
    country: IntoColumn | None = None,
    receiver: Receiver | None = None,
    form: Form | None = None,
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the postal code of a column, normalised, as receivers match it.

    Blanks and dashes are removed, and letters become small ones. Of a code in the United States the first 5 digits
    stay. Google matches postal codes as they are written, and not hashed. Amazon's rules cut a code to the length of
    its country. TikTok and Microsoft have no rule.

    Arguments:
        column: A column's name, or an expression of texts.
        country: The country of the codes, as in `phone`; needed to cut a code.
        receiver, on_impossible: As in `email`. Only a text without a letter or digit is impossible.
        form: "sha256" or "text"; by default the one that the receiver asks for.

        >>> pl.DataFrame({"zip": ["94035-1234"]}).select(postal_code("zip", country="US", form="text")).item()
        '94035'
    """
    chosen = form or ("text" if receiver == "google" else "sha256")
    check_receiver(receiver, chosen, on_impossible, without=("tiktok", "microsoft"), subject="postal codes")
    raw = as_texts(column)
    if receiver == "google":
        code = raw.str.strip_chars()
    else:
        code = raw.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
        for name, length in (_LENGTHS if receiver == "amazon" else {"us": 5}).items():
            code = pl.when(is_in(country, name)).then(code.str.head(length)).otherwise(code)
    return finished(raw, code, code.str.contains(r"[\p{L}\p{N}]"), chosen, on_impossible, "a postal code")


def country(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form | None = None,
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the country of a column as its code of two small letters (ISO 3166-1), as receivers match it.

    `UK` becomes `gb`. Google matches country codes unhashed; Microsoft and TikTok have no rule. `form` is "sha256" or
    "text", by default the one that the receiver asks for. A text that is not such a code, as the name of a country, is
    impossible. `receiver` and `on_impossible` are as in `email`.

        >>> pl.DataFrame({"country": ["US", "Mars"]}).select(country("country", form="text")).to_series().to_list()
        ['us', None]
    """
    chosen = form or ("text" if receiver == "google" else "sha256")
    check_receiver(receiver, chosen, on_impossible, without=("tiktok", "microsoft"), subject="countries")
    raw = as_texts(column)
    code = country_code(raw)
    return finished(raw, code, code.is_in(COUNTRIES), chosen, on_impossible, "a country's code of two letters")


def city(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the city of a column, normalised, as the hexadecimal SHA-256 that receivers match.

    Letters become small ones; blanks, punctuation and special characters are removed, and letters with accents stay.
    Amazon's rules leave only a to z and 0 to 9. Google's lists of customers, TikTok's and Microsoft's have no city.

    `receiver`, `form` and `on_impossible` are as in `email`. Only a text without a letter or digit is impossible.

        >>> pl.DataFrame({"city": ["New York"]}).select(city("city", form="text")).item()
        'newyork'
    """
    check_receiver(receiver, form, on_impossible, without=_NO_PLACES, subject="cities")
    raw = as_texts(column)
    name = raw.str.to_lowercase().str.replace_all(_UNNAMED if receiver != "amazon" else _NOT_ASCII, "")
    return finished(raw, name, name.str.contains(r"[\p{L}\p{N}]"), form, on_impossible, "a city")


def state(
    column: IntoColumn,
    *,
    country: IntoColumn | None = None,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the state or province of a column, normalised, as the hexadecimal SHA-256 that receivers match.

    In the United States it is the code of two small letters, also where the column has the name; a text that is
    neither is impossible. Elsewhere letters become small ones, and blanks, punctuation and special characters are
    removed. Amazon's rules make a code of two letters everywhere. The names of Canada's provinces become their codes
    there; of France, Germany, Italy and Spain only codes are read. Google's lists of customers, TikTok's and
    Microsoft's have no state.

    Arguments:
        column: A column's name, or an expression of texts.
        country: The country of the states, as in `phone`; needed to know the United States.
        receiver, form, on_impossible: As in `email`.

        >>> pl.DataFrame({"state": ["California"]}).select(state("state", country="US", form="text")).item()
        'ca'
    """
    check_receiver(receiver, form, on_impossible, without=_NO_PLACES, subject="states")
    raw = as_texts(column)
    name = raw.str.to_lowercase().str.replace_all(_UNNAMED, "")
    american = _code_of(name, US_STATES)
    if receiver == "amazon":
        letters = name.str.replace_all(r"[^a-z]", "")
        is_coded = pl.any_horizontal(is_in(country, place) for place in ("de", "es", "fr", "it"))
        code = pl.when(is_coded & (letters.str.len_chars() > _CODE)).then(None).otherwise(letters.str.head(_CODE))
        name = pl.when(is_in(country, "ca")).then(_code_of(letters, CANADIAN_PROVINCES)).otherwise(code)
    normal = pl.when(is_in(country, "us")).then(american).otherwise(name)
    return finished(raw, normal, normal.str.contains(r"[\p{L}\p{N}]"), form, on_impossible, "a state")


def street(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the street of a column, with its number, in small letters, as the hexadecimal SHA-256 that Google matches.

    Google takes it with conversions only, and not in a list of customers. Meta, TikTok and Microsoft have no street.
    Amazon's rules are long tables of its own uploader, and not made here.

    `receiver`, `form` and `on_impossible` are as in `email`. Only a text without a letter or digit is impossible.

        >>> pl.DataFrame({"street": [" 1 Main St. "]}).select(street("street", form="text")).item()
        '1 main st.'
    """
    check_receiver(receiver, form, on_impossible, without=("meta", "tiktok", "amazon", "microsoft"), subject="streets")
    raw = as_texts(column)
    line = raw.str.strip_chars().str.to_lowercase()
    return finished(raw, line, line.str.contains(r"[\p{L}\p{N}]"), form, on_impossible, "a street")


def _code_of(name: pl.Expr, codes: dict[str, str]) -> pl.Expr:
    """Return the code of a name without blanks, or of a code; null for any other text."""
    return name.replace_strict(codes | {code: code for code in codes.values()}, default=None, return_dtype=pl.String)
