"""Parse a name template: text, and tokens in braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from string import Formatter
from typing import TYPE_CHECKING, Any, cast

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.keys.run_id import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

# Directives of strftime that are as long, and read the same, everywhere and always; with their lengths.
_DATE = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "G": 4, "V": 2, "u": 1}
_TIME = _DATE | {"H": 2, "M": 2, "S": 2}
_DIRECTIVES = {"timestamp": _TIME, "date": _DATE}
_DEFAULTS = {"timestamp": FORMAT, "date": "%Y-%m-%d"}
_DIRECTIVE = re.compile("%(.?)", re.DOTALL)
_WIDTH = re.compile("(?:0([1-9]))?d?")
# A suffix, and those for a compression and an encryption, which can't stand alone: else "a.csv.gz" might belong to a
# run "a.csv".
_COMPRESSED, _ENCRYPTED = "(?:gz|zst|bz2|xz)", "(?:pgp|age)"
_ALONE = rf"(?:{_COMPRESSED}(?:\.{_ENCRYPTED})?|{_ENCRYPTED})\Z"
_EXTENSION = rf"\.(?!{_ALONE})[a-z0-9]+(?:\.{_COMPRESSED})?(?:\.{_ENCRYPTED})?"
TOKENS = ("run_id", "timestamp", "date", "schema", "share", "part", "ext")
# Tokens whose text is a number.
_NUMBERS = ("share", "part")
_NOT_DIGIT = re.compile("[^0-9]")
# What can't be in a token's text, and so ends it; a column's value may have anything but a slash.
_ENDS = {"share": _NOT_DIGIT, "part": _NOT_DIGIT, "run_id": re.compile("[^A-Za-z0-9._-]")}


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A parsed template: `pieces` are literal texts and tokens."""

    text: str
    pieces: tuple[str | Token, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens, in their order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Token))

    def uses(self, name: str) -> bool:
        """Return whether the template has a token of that name."""
        return any(token.name == name for token in self.tokens)

    @property
    def columns(self) -> frozenset[str]:
        """The partition columns that it names."""
        return frozenset(token.name for token in self.tokens) - frozenset(TOKENS)

    @property
    def end(self) -> str:
        """The text whose suffix decides the format; empty if the template ends in {ext}, which the format fills in."""
        last = self.pieces[-1]
        return "" if isinstance(last, Token) and last.name == "ext" else self.text

    def render(self, values: Mapping[str, object]) -> str:
        """Return the name; `values` has a value for every token."""
        return "".join(piece if isinstance(piece, str) else piece.text(values[piece.name]) for piece in self.pieces)

    def stem(self, values: Mapping[str, object]) -> str:
        """Return the start of the name, up to the first token without a value."""
        known = takewhile(lambda piece: isinstance(piece, str) or piece.name in values, self.pieces)
        return Template(self.text, tuple(known)).render(values)

    def shown(self, values: Mapping[str, object]) -> str:
        """Return the name, with tokens that have no value left in their braces."""
        return "".join(
            str(piece) if isinstance(piece, str) or piece.name not in values else piece.text(values[piece.name])
            for piece in self.pieces
        )

    def glob(self, values: Mapping[str, object]) -> str:
        """Return the name with `*` in place of tokens without a value, or `?` for each digit of a number's width."""
        return "".join(
            piece if isinstance(piece, str) else piece.text(values[piece.name]) if piece.name in values else piece.glob
            for piece in self.pieces
        )

    def pattern(self, values: Mapping[str, object]) -> str:
        """Return a regular expression for all names with these values. A repeated token has one text.

        Its groups are named, so two of these can't be joined in one expression.
        """
        seen: dict[str, str] = {}
        patterns = []
        for piece in self.pieces:
            if isinstance(piece, str):
                patterns.append(re.escape(piece))
            elif piece.name in values:
                patterns.append(re.escape(piece.text(values[piece.name])))
            elif piece.name in seen:
                patterns.append(f"(?P={seen[piece.name]})")
            else:
                seen[piece.name] = f"token{len(seen)}"
                patterns.append(f"(?P<{seen[piece.name]}>{piece.pattern})")
        return "".join(patterns)


def parse_template(text: str, columns: Sequence[str] = ()) -> Template:
    """Parse a template. Raises `ConfigurationError` with the wrong token.

    `columns` are the partition columns; each of them is a token too.
    """
    given: Any = text  # what the types promise is checked here
    if not isinstance(given, str) or not given:
        raise ConfigurationError(f"name={given!r} is not a template. Give one, such as {{run_id}}{{ext}}.")
    try:
        parsed = list(Formatter().parse(given))
    except ValueError as error:
        raise ConfigurationError(f"name={given!r} has a single brace ({error}). Write tokens as {{run_id}}.") from error
    pieces: list[str | Token] = []
    for literal, name, spec, conversion in parsed:
        pieces += [literal] if literal else []
        pieces += [] if name is None else [_token(given, name, spec or "", conversion, columns)]
    return Template(given, tuple(pieces))


def _token(template: str, name: str, spec: str, conversion: str | None, columns: Sequence[str]) -> Token:
    if name in columns and name in TOKENS:
        raise ConfigurationError(
            f"{{{name}}} in name={template!r} may be the partition column or the token of that name. Leave it out to "
            f"get the column's folder {name}=… before the name, rename the column, or write "
            "{timestamp:%Y-%m-%d} for the run's date."
        )
    if name not in (known := (*TOKENS, *columns)):
        listed = f" Use {', '.join(map('{{{}}}'.format, known))}, or a column of partition_by."
        meant = nearest(name, known, "{{{}}}".format)
        raise ConfigurationError(f"{{{name}}} in name={template!r} is not a token.{meant or listed}")
    if conversion:
        raise ConfigurationError(
            f"{{{name}!{conversion}}} in name={template!r} can't have a conversion. Write {{{name}}}."
        )
    token = Token(name, spec)
    check_spec(token, template)
    return token


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a template: a predefined name or a partition column. `spec` is the text after the colon."""

    name: str
    spec: str = ""

    def __str__(self) -> str:
        return f"{{{self.name}:{self.spec}}}" if self.spec else f"{{{self.name}}}"

    def text(self, value: object) -> str:
        """Format a value for this token: a time for timestamps and dates, a number for shares and parts, else text."""
        if self.name in _DIRECTIVES:
            return _DIRECTIVE.sub(lambda found: cast("datetime", value).strftime(found[0]), self._time_spec)
        return format(value, self.spec) if self.name in _NUMBERS else str(value)

    @property
    def shape(self) -> str | None:
        """The text with a 0 for each digit, if all texts have that length and differ only in digits; else None."""
        if self.name not in _DIRECTIVES:
            return None
        return _DIRECTIVE.sub(lambda found: "0" * _TIME[found[1]], self._time_spec)

    @property
    def pattern(self) -> str:
        """A regular expression for all texts of a token without a known value: a number, an extension, a column."""
        if self.name in _NUMBERS:
            width = int(found[1] or 1) if (found := _WIDTH.fullmatch(self.spec)) else 1
            return f"(?:[0-9]{{{width}}}|[1-9][0-9]{{{width},}})"
        return _EXTENSION if self.name == "ext" else "[^/]+"

    @property
    def glob(self) -> str:
        """A pattern for all texts of a token without a known value."""
        width = _WIDTH.fullmatch(self.spec) if self.name in _NUMBERS else None
        return "?" * int(width[1] or 0) or "*" if width else "*"

    def is_ended_by(self, text: str) -> bool:
        """Return whether the text beside this token can't be part of the token's own text."""
        ends = _ENDS.get(self.name)
        return ends is not None and ends.search(text) is not None

    @property
    def _time_spec(self) -> str:
        return self.spec or _DEFAULTS[self.name]


def check_spec(token: Token, template: str) -> None:
    """Raise `ConfigurationError` for a format that the token doesn't have."""
    if known := _DIRECTIVES.get(token.name):
        asked = _DIRECTIVE.findall(token.spec)
        if wrong := [f"%{letter}" for letter in asked if letter not in known]:
            hours = token.name == "date" and all(f[1:] in _TIME for f in wrong)
            advice = f"{{timestamp:{token.spec}}}" if hours else " ".join(f"%{letter}" for letter in known)
            raise ConfigurationError(f"{token} in name={template!r} can't have {', '.join(wrong)}. Use {advice}.")
        if token.spec and not asked:
            raise ConfigurationError(
                f"{token} in name={template!r} has a format without a directive. "
                f"Write {{{token.name}:{_DEFAULTS[token.name]}}}."
            )
    elif token.name in _NUMBERS and not _WIDTH.fullmatch(token.spec):
        raise ConfigurationError(
            f"{token} in name={template!r} is not a format for a number. Use {{{token.name}:05d}}, or a width from 01d "
            "to 09d."
        )
    elif token.name not in _NUMBERS and token.spec:
        raise ConfigurationError(f"{token} in name={template!r} can't have a format. Write {{{token.name}}}.")
