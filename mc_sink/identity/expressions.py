"""What the expressions of identities share: their options, the hash, and the value where none is possible."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import polars as pl

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Receiver = Literal["google", "meta", "tiktok", "amazon", "microsoft"]
Form = Literal["sha256", "text"]
OnImpossible = Literal["null", "raise"]
IntoColumn: TypeAlias = "str | pl.Expr"

ISO = {"uk": "gb"}  # a common mistake for ISO's code
COUNTRIES = """
ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc cd
cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf
gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn
kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na
nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si
sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi
vn vu wf ws ye yt za zm zw
""".split()  # noqa: SIM905  a table is read most easily as text


def sha256(column: IntoColumn) -> pl.Expr:
    """Return the SHA-256 of each text of a column, unchanged, as 64 hexadecimal digits; null for an empty text.

    >>> pl.DataFrame({"id": ["crm-7", ""]}).select(sha256("id").str.len_chars()).to_series().to_list()
    [64, None]
    """
    raw = as_texts(column)
    return finished(raw, raw, raw != "", "sha256", "null", "a text")


def finished(  # noqa: PLR0913, PLR0917  each is a fact of its own
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


def as_texts(column: IntoColumn) -> pl.Expr:
    """Return a column as text."""
    return (pl.col(column) if isinstance(column, str) else column).cast(pl.String)


def country_code(column: pl.Expr) -> pl.Expr:
    """Return a country's code in small letters, whether it is one or not."""
    return column.str.strip_chars().str.to_lowercase().replace(ISO)


def is_in(place: IntoColumn | None, code: str) -> pl.Expr:
    """Return whether a row's country is the one with this code."""
    if isinstance(place, pl.Expr):
        return country_code(as_texts(place)) == code
    if place is not None:
        check_country(place)
    return pl.lit(place is not None and ISO.get(place.lower(), place.lower()) == code)


def check_receiver(
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
        raise ConfigurationError(
            f"The receiver {receiver!r} documents no rule for {subject} that is made here. Leave the column out."
        )


def check_country(code: str) -> None:
    """Raise `ConfigurationError` for a text that is not a country's code."""
    if code.lower() not in {*COUNTRIES, *ISO}:
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
        raise missing_library("polars-hash") from error
    return lambda text: polars_hash.CryptographicHashingNameSpace(text).sha2_256()


def missing_library(library: str) -> ConfigurationError:
    """Return the error for a library that isn't installed."""
    return ConfigurationError(f"Identities need the library {library}. Install it: pip install 'mc-sink[identity]'.")
