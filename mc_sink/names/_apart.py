"""Whether names can be told apart: two files have one name only where run, part and partition are the same.

A name is read back, folder by folder. Of the tokens in a folder's name, those from the left are found as long as each
is followed by a character that can't be its own, and those from the right as long as each is preceded by one; one token
may be left over in between, and is the rest. `{run_id}-{part}` is read from the right: a number has no "-" in it.
`{country}-{run_id}` can't be read: "a-b-c" may be "a" and "b-c".
"""

from __future__ import annotations

from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from mc_sink.names._tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.names._template import Template

Pieces = list[str | Token]


def blurred(template: Template, constants: Mapping[str, str]) -> tuple[Token, ...]:
    """Give the tokens of a template that can't be read back from a name; `constants` are the same in all names."""
    folders = list(_folders(template, constants))
    known: set[str] = set()
    while found := {token.name for folder in folders for token in _found(folder, known)} - known:
        known |= found
    unread = {token.name: token for token in template.tokens if token.shape is None and token.name not in constants}
    return tuple(token for name, token in unread.items() if name not in known)


def _folders(template: Template, constants: Mapping[str, str]) -> Iterator[Pieces]:
    """Cut the template at its slashes; what is as long in every name stands in it as text."""
    pieces: Pieces = []
    for piece in template.pieces:
        text = piece if isinstance(piece, str) else constants.get(piece.name, piece.shape)
        first, *others = [piece] if text is None else text.split("/")
        pieces.append(first)
        for other in others:
            yield pieces
            pieces = [other]
    yield pieces


def _found(folder: Pieces, known: set[str]) -> Sequence[Token]:
    """Read one folder's name as far as it can be read, with what is known from others."""
    unread = [index for index, piece in enumerate(folder) if isinstance(piece, Token) and piece.name not in known]
    tokens = [piece for index, piece in enumerate(folder) if index in unread and isinstance(piece, Token)]
    between = [_text(folder[left + 1 : right]) for left, right in pairwise(unread)]
    from_left = _count(token.is_ended_by(text) for token, text in zip(tokens, between, strict=False))
    from_right = _count(token.is_ended_by(text) for token, text in zip(tokens[::-1], between[::-1], strict=False))
    if from_left + from_right + 1 >= len(tokens):
        return tokens
    return tokens[:from_left] + tokens[len(tokens) - from_right :]


def _text(pieces: Pieces) -> str:
    """Give the text between two tokens; one that is known from elsewhere has unknown characters, which end nothing."""
    return "".join(piece if isinstance(piece, str) else "0" for piece in pieces)


def _count(true: Iterator[bool]) -> int:
    """Count how many are true before the first that isn't."""
    return sum(takewhile(bool, true))
