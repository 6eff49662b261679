"""A template: text with tokens in braces, read once, and refused where a token is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from string import Formatter
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError
from mc_sink.names._tokens import TOKENS, Token, check_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What names are made from: `pieces` of text that stays as it is, and tokens."""

    text: str
    pieces: tuple[str | Token, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens, in their order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Token))

    def uses(self, name: str) -> bool:
        """Whether a token of that name is in it."""
        return any(token.name == name for token in self.tokens)

    @property
    def columns(self) -> frozenset[str]:
        """The partition columns that it names."""
        return frozenset(token.name for token in self.tokens) - frozenset(TOKENS)

    @property
    def end(self) -> str:
        """The template, which every name ends like; nothing where it ends in {ext}, which the format fills in."""
        last = self.pieces[-1]
        return "" if isinstance(last, Token) and last.name == "ext" else self.text

    def render(self, values: Mapping[str, object]) -> str:
        """Write the name; `values` has one for every token."""
        return "".join(piece if isinstance(piece, str) else piece.text(values[piece.name]) for piece in self.pieces)

    def stem(self, values: Mapping[str, object]) -> str:
        """Write the name as far as `values` goes."""
        known = takewhile(lambda piece: isinstance(piece, str) or piece.name in values, self.pieces)
        return Template(self.text, tuple(known)).render(values)

    def shown(self, values: Mapping[str, object]) -> str:
        """Write the name with the tokens that `values` doesn't have left in their braces."""
        return "".join(
            str(piece) if isinstance(piece, str) or piece.name not in values else piece.text(values[piece.name])
            for piece in self.pieces
        )

    def pattern(self, values: Mapping[str, object]) -> str:
        """Give a regular expression for all names that have these values; a token that stands twice is twice the same.

        Its groups have names, so no two of these go into one expression.
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
    """Read a template, or raise `ConfigurationError` that says what is wrong with which token.

    `columns` are those that the delivery is partitioned by; each is a token too.
    """
    given: Any = text  # what the types promise is checked here
    if not isinstance(given, str) or not given:
        raise ConfigurationError(f"name={given!r} names nothing: write a template, such as {{run_id}}{{ext}}.")
    try:
        parsed = list(Formatter().parse(given))
    except ValueError as error:
        raise ConfigurationError(
            f"name={given!r} has a brace without its other one ({error}): write tokens as {{run_id}}."
        ) from error
    pieces: list[str | Token] = []
    for literal, name, spec, conversion in parsed:
        pieces += [literal] if literal else []
        pieces += [] if name is None else [_token(given, name, spec or "", conversion, columns)]
    return Template(given, tuple(pieces))


def _token(template: str, name: str, spec: str, conversion: str | None, columns: Sequence[str]) -> Token:
    if name in columns and name in TOKENS:
        raise ConfigurationError(
            f"{{{name}}} in name={template!r} may be the partition column or a token of ours: leave it out, and the "
            f"column's folder {name}=… is put before the name; rename the column; or, for the run's date, write "
            "{timestamp:%Y-%m-%d}."
        )
    if name not in (*TOKENS, *columns):
        raise ConfigurationError(f"{{{name}}} in name={template!r} is no token: {_advice(name, columns)}")
    if conversion:
        raise ConfigurationError(f"{{{name}!{conversion}}} in name={template!r} takes no conversion: write {{{name}}}.")
    token = Token(name, spec)
    check_spec(token, template)
    return token


def _advice(name: str, columns: Sequence[str]) -> str:
    from difflib import get_close_matches

    known = {known.lower(): known for known in (*TOKENS, *columns)}
    near = get_close_matches(name.strip().lower(), known, n=1)
    if near:
        return f"did you mean {{{known[near[0]]}}}?"
    return f"use {', '.join(f'{{{one}}}' for one in known.values())}, or a column that files are partitioned by."
