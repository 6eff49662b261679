"""Polars expressions that normalise and hash what identifies a person, as the receivers of audiences document it.

Every function returns an expression: `frame.with_columns(email_sha256=identity.email("email"))`. Normalising and
hashing run in the engine; phone numbers are read by Google's rules in the library phonenumbers. A null stays null. A
value that cannot identify a person (empty, or no address) becomes null, or an error: never the hash of an empty text.
`docs/identity.md` names the page of each rule.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import polars as pl

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["country", "email", "first_name", "last_name", "phone", "postal_code", "sha256"]

Receiver = Literal["google", "meta", "tiktok", "amazon", "microsoft"]
Form = Literal["sha256", "text"]
OnImpossible = Literal["null", "raise"]
IntoColumn: TypeAlias = "str | pl.Expr"

# One at sign, a domain with a dot, and no blank or invisible character.
_ADDRESS = r"^[^@\s\p{C}]+@[^@\s\p{C}.]+(?:\.[^@\s\p{C}.]+)+$"
_GMAIL = ("@gmail.com", "@googlemail.com")
# Amazon's own uploader writes these letters out before it drops all that is not a-z or 0-9.
_WRITTEN_OUT = {"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "æ": "ae"}
_DIGITS_ONLY = ("meta", "amazon")
_LENGTHS = {"us": 5, "ca": 6, "gb": 7, "in": 6, "jp": 7}  # of a postal code at Amazon
_ISO = {"uk": "gb"}  # a common mistake for ISO's code
_COUNTRIES = """
ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc cd
cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf
gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn
kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na
nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si
sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi
vn vu wf ws ye yt za zm zw
""".split()  # noqa: SIM905  a table is read most easily as text


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
    _check(receiver, form, on_impossible)
    raw = _texts(column)
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
    return _finished(raw, address, address.str.contains(_ADDRESS), form, on_impossible, "an e-mail address")


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
    _check(receiver, form, on_impossible, without=("microsoft",), subject="phone numbers")
    _phonenumbers()  # missing, it is reported here, and not by the engine
    raw = _texts(column)
    if isinstance(country, str):
        _check_country(country)
    region = pl.lit(country, dtype=pl.String) if country is None or isinstance(country, str) else _texts(country)
    number = pl.struct(raw, region.alias("country of the number")).map_batches(
        _numbers, return_dtype=pl.String, is_elementwise=True
    )
    if receiver in _DIGITS_ONLY:
        number = number.str.strip_prefix("+")
    return _finished(raw, number, number.is_not_null(), form, on_impossible, "a phone number")


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
    _check(receiver, form, on_impossible, without=("tiktok", "microsoft"), subject="names")
    raw = _texts(column)
    name = raw.str.to_lowercase()
    if receiver == "amazon":
        letters, written_out = list(_WRITTEN_OUT), list(_WRITTEN_OUT.values())
        name = name.str.replace_many(letters, written_out).str.replace_all(r"[^a-z0-9]", "")
    else:
        name = name.str.replace_all(r"\p{P}", "").str.replace_all(r"\s+", " ").str.strip_chars()
    return _finished(raw, name, name.str.contains(r"[\p{L}\p{N}]"), form, on_impossible, "a name")


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
    _check(receiver, chosen, on_impossible, without=("tiktok", "microsoft"), subject="postal codes")
    raw = _texts(column)
    if receiver == "google":
        code = raw.str.strip_chars()
    else:
        code = raw.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
        for name, length in (_LENGTHS if receiver == "amazon" else {"us": 5}).items():
            code = pl.when(_is_in(country, name)).then(code.str.head(length)).otherwise(code)
    return _finished(raw, code, code.str.contains(r"[\p{L}\p{N}]"), chosen, on_impossible, "a postal code")


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
    _check(receiver, chosen, on_impossible, without=("tiktok", "microsoft"), subject="countries")
    raw = _texts(column)
    code = _country_code(raw)
    return _finished(raw, code, code.is_in(_COUNTRIES), chosen, on_impossible, "a country's code of two letters")


def sha256(column: IntoColumn) -> pl.Expr:
    """Return the SHA-256 of each text of a column, unchanged, as 64 hexadecimal digits; null for an empty text.

    >>> pl.DataFrame({"id": ["crm-7", ""]}).select(sha256("id").str.len_chars()).to_series().to_list()
    [64, None]
    """
    raw = _texts(column)
    return _finished(raw, raw, raw != "", "sha256", "null", "a text")


def _finished(  # noqa: PLR0913, PLR0917  each is a fact of its own
    raw: pl.Expr, normal: pl.Expr, is_possible: pl.Expr, form: Form, on_impossible: OnImpossible, expected: str
) -> pl.Expr:
    """Return the normalised text or its hash where it is possible, and else null or an error."""
    if on_impossible == "raise":
        checked = pl.struct(raw.alias("raw"), is_possible.alias("is_possible")).map_batches(
            _refusing(expected), return_dtype=pl.Boolean, is_elementwise=True
        )
    else:
        checked = is_possible
    return pl.when(checked).then(_hash()(normal) if form == "sha256" else normal)


def _refusing(expected: str) -> Callable[[pl.Series], pl.Series]:
    """Return a function that raises where a text is not what is expected, and shows none of them."""

    def refuse(values: pl.Series) -> pl.Series:
        found = values.struct.field("is_possible").fill_null(value=False)
        wrong = int((values.struct.field("raw").is_not_null() & ~found).sum())
        if wrong:
            raise ValueError(
                f"Cannot hash the column: at least {counted(wrong, 'value')} of it can't be read as {expected}. "
                'Correct the column, or pass on_impossible="null" to leave such values out.'
            )
        return found

    return refuse


def _texts(column: IntoColumn) -> pl.Expr:
    return (pl.col(column) if isinstance(column, str) else column).cast(pl.String)


def _country_code(column: pl.Expr) -> pl.Expr:
    return column.str.strip_chars().str.to_lowercase().replace(_ISO)


def _is_in(place: IntoColumn | None, code: str) -> pl.Expr:
    """Return whether a row's country is the one with this code."""
    if isinstance(place, pl.Expr):
        return _country_code(_texts(place)) == code
    if place is not None:
        _check_country(place)
    return pl.lit(place is not None and _ISO.get(place.lower(), place.lower()) == code)


def _check(
    receiver: str | None,
    form: str,
    on_impossible: str,
    *,
    without: tuple[str, ...] = (),
    subject: str = "",
) -> None:
    """Raise for an option's unknown value, and for a receiver that doesn't match such values."""
    given = (("receiver", receiver, Receiver), ("form", form, Form), ("on_impossible", on_impossible, OnImpossible))
    for name, value, kind in given:
        known = get_args(kind)
        if value not in known and not (name == "receiver" and value is None):
            choices = ", ".join(f'"{one}"' for one in known)
            raise ConfigurationError(f"Cannot use {name}={value!r}. Use one of {choices}.")
    if receiver in without:
        raise ConfigurationError(f"The receiver {receiver!r} documents no rule for {subject}. Leave the column out.")


def _check_country(code: str) -> None:
    if code.lower() not in {*_COUNTRIES, *_ISO}:
        raise ConfigurationError(
            f'country={code!r} is not a country\'s code of two letters (ISO 3166-1). Pass one such as "DE", or '
            "pl.col(…) for a column with the codes."
        )


@cache
def _hash() -> Callable[[pl.Expr], pl.Expr]:
    """Return the function that makes an expression's hash. A plugin computes it: measured, 4 M e-mails a second."""
    try:
        import polars_hash
    except ImportError as error:
        raise _missing("polars-hash") from error
    return lambda text: polars_hash.CryptographicHashingNameSpace(text).sha2_256()


@cache
def _phonenumbers() -> Callable[[str, str | None], str | None]:
    """Return the function that reads a number, dialled in a country, as E.164; None where it is impossible."""
    try:
        import phonenumbers
    except ImportError as error:
        raise _missing("phonenumbers") from error

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


def _missing(library: str) -> ConfigurationError:
    return ConfigurationError(f"Identities need the library {library}. Install it: pip install 'mc-sink[identity]'.")
