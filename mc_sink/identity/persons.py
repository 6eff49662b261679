"""Who a person is: e-mail addresses, phone numbers and names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.identity.expressions import as_texts, check_country, check_receiver, finished, missing_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.identity.expressions import Form, IntoColumn, OnImpossible, Receiver

# One at sign, a domain with a dot, and no blank or invisible character.
_ADDRESS = r"^[^@\s\p{C}]+@[^@\s\p{C}.]+(?:\.[^@\s\p{C}.]+)+$"
_GMAIL = ("@gmail.com", "@googlemail.com")
# Amazon's own uploader writes these letters out before it drops all that is not a-z or 0-9.
_WRITTEN_OUT = {"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "æ": "ae"}
_DIGITS_ONLY = ("meta", "amazon")


def email(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the e-mail address of a column, normalised, as the hexadecimal SHA-256 that receivers match.

    Blanks around it are removed, and letters become small ones. Google's rules also remove blanks within it and, at
    gmail.com and googlemail.com, the dots before the at sign; TikTok's remove a `+` and what follows it before the at
    sign; Amazon's remove every character except letters, digits, `_`, `.`, `-` and the at sign.

    Arguments:
        column: A column's name, or an expression of texts.
        receiver: Whose rules apply. By default those that receivers share.
        form: "sha256" for 64 hexadecimal digits, or "text" for the normalised address.
        on_impossible: What a text becomes that is not an address: null, or a `ValueError` when the query runs.

        >>> pl.DataFrame({"email": [" Ada@Example.com ", ""]}).select(email("email", form="text")).to_series().to_list()
        ['ada@example.com', None]
    """
    check_receiver(receiver, form, on_impossible)
    raw = as_texts(column)
    address = raw.str.strip_chars().str.to_lowercase()
    if receiver == "google":
        address = address.str.replace_all(r"\s", "")
        for domain in _GMAIL:
            local = address.str.strip_suffix(domain).str.replace_all(".", "", literal=True)
            undotted = pl.concat_str(local, pl.lit(domain))
            address = pl.when(address.str.ends_with(domain)).then(undotted).otherwise(address)
    elif receiver == "tiktok":
        address = address.str.replace_all(r"\s", "").str.replace(r"\+[^@]*@", "@")
    elif receiver == "amazon":
        address = address.str.replace_all(r"[^\w.@-]", "")
    return finished(raw, address, address.str.contains(_ADDRESS), form, on_impossible, "an e-mail address")


def phone(
    column: IntoColumn,
    *,
    country: IntoColumn | None = None,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the phone number of a column in E.164 (+491701234567), as the hexadecimal SHA-256 that receivers match.

    Meta's and Amazon's rules leave out the plus sign. Microsoft matches no phone numbers.

    Arguments:
        column: A column's name, or an expression. Whole numbers are read as their digits.
        country: The country of numbers without their own country code: a code of ISO 3166-1 such as "DE", or an
            expression with each row's code, such as `pl.col("country")`. Without it, a number must begin with a plus.
        receiver, form, on_impossible: As in `email`. A number is impossible if no number of its country is as long.

        >>> pl.DataFrame({"phone": ["0170 1234567"]}).select(phone("phone", country="DE", form="text")).item()
        '+491701234567'
    """
    check_receiver(receiver, form, on_impossible, without=("microsoft",), subject="phone numbers")
    _phonenumbers()  # missing_library, it is reported here, and not by the engine
    raw = as_texts(column)
    if isinstance(country, str):
        check_country(country)
    region = pl.lit(country, dtype=pl.String) if country is None or isinstance(country, str) else as_texts(country)
    number = pl.struct(raw, region.alias("country of the number")).map_batches(
        _numbers, return_dtype=pl.String, is_elementwise=True
    )
    if receiver in _DIGITS_ONLY:
        number = number.str.strip_prefix("+")
    return finished(raw, number, number.is_not_null(), form, on_impossible, "a phone number")


def first_name(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the first name of a column, normalised, as the hexadecimal SHA-256 that receivers match.

    Letters become small ones, punctuation is removed, and one blank is left between words; letters with accents stay.
    Amazon's rules write `ä` as `ae` and the like, and leave only a to z and 0 to 9. TikTok and Microsoft have no rule.

    `receiver`, `form` and `on_impossible` are as in `email`. Only a text without a letter or digit is impossible.

        >>> pl.DataFrame({"name": [" Mary-Ann "]}).select(first_name("name", form="text")).item()
        'maryann'
    """
    check_receiver(receiver, form, on_impossible, without=("tiktok", "microsoft"), subject="names")
    raw = as_texts(column)
    name = raw.str.to_lowercase()
    if receiver == "amazon":
        letters, written_out = list(_WRITTEN_OUT), list(_WRITTEN_OUT.values())
        name = name.str.replace_many(letters, written_out).str.replace_all(r"[^a-z0-9]", "")
    else:
        name = name.str.replace_all(r"\p{P}", "").str.replace_all(r"\s+", " ").str.strip_chars()
    return finished(raw, name, name.str.contains(r"[\p{L}\p{N}]"), form, on_impossible, "a name")


def last_name(
    column: IntoColumn,
    *,
    receiver: Receiver | None = None,
    form: Form = "sha256",
    on_impossible: OnImpossible = "null",
) -> pl.Expr:
    """Return the last name of a column, normalised like a first name, as the hexadecimal SHA-256 that receivers match.

    >>> pl.DataFrame({"name": ["O'Brien"]}).select(last_name("name", form="text")).item()
    'obrien'
    """
    return first_name(column, receiver=receiver, form=form, on_impossible=on_impossible)


@cache
def _phonenumbers() -> Callable[[str, str | None], str | None]:
    """Return the function that reads a number, dialled in a country, as E.164; None where it is impossible."""
    try:
        import phonenumbers
    except ImportError as error:
        raise missing_library("phonenumbers") from error

    def read(number: str, place: str | None) -> str | None:
        try:
            found = phonenumbers.parse(number, place)
        except phonenumbers.NumberParseException:
            return None
        if phonenumbers.is_possible_number_with_reason(found) != phonenumbers.ValidationResult.IS_POSSIBLE:
            return None  # also where it lacks its area code
        return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)

    return read


def _numbers(values: pl.Series) -> pl.Series:
    """Return numbers in E.164. Each pair of a number and a country is read once in a batch."""
    read, known = _phonenumbers(), dict[tuple[str | None, str | None], str | None]()
    pairs = [*values.struct.unnest().iter_rows()]
    for number, place in {*pairs}:
        region = place and place.strip().upper()
        known[number, place] = None if number is None else read(number, "GB" if region == "UK" else region)
    return pl.Series(values.name, [known[pair] for pair in pairs], dtype=pl.String)
