"""Tokens: what may stand between the braces of a template, what may follow the colon, and what texts it can become."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mc_sink.exceptions import ConfigurationError
from mc_sink.names._clock import FORMAT

if TYPE_CHECKING:
    from datetime import datetime

# Directives of strftime that are as long, and read the same, everywhere and always; with their lengths.
_DATE = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "G": 4, "V": 2, "u": 1}
_TIME = _DATE | {"H": 2, "M": 2, "S": 2}
_DIRECTIVES = {"timestamp": _TIME, "date": _DATE}
_DEFAULTS = {"timestamp": FORMAT, "date": "%Y-%m-%d"}
_DIRECTIVE = re.compile("%(.?)", re.DOTALL)
_WIDTH = re.compile("(?:0([1-9]))?d?")
# A suffix, and one more for what it is compressed with, which is none alone: or "a.csv.gz" might be of a run "a.csv".
_COMPRESSED = "(?:gz|zst|bz2|xz)"
_EXTENSION = rf"\.(?!{_COMPRESSED}\Z)[a-z0-9]+(?:\.{_COMPRESSED})?"
TOKENS = ("run_id", "timestamp", "date", "schema", "part", "ext")
# What can't be in a token's text, and so ends it; a column's value may have anything but a slash.
_ENDS = {"part": re.compile("[^0-9]"), "run_id": re.compile("[^A-Za-z0-9._-]")}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a template: a name of ours, or a partition column's; `spec` is what follows the colon."""

    name: str
    spec: str = ""

    def __str__(self) -> str:
        return f"{{{self.name}:{self.spec}}}" if self.spec else f"{{{self.name}}}"

    def text(self, value: object) -> str:
        """Write a value as this token has it; a time for timestamps and dates, a number for parts, else text."""
        if self.name in _DIRECTIVES:
            return _DIRECTIVE.sub(lambda found: cast("datetime", value).strftime(found[0]), self._time_spec)
        return format(value, self.spec) if self.name == "part" else str(value)

    @property
    def shape(self) -> str | None:
        """The text with a 0 for each digit, where all texts are as long and differ in digits alone; else None."""
        if self.name not in _DIRECTIVES:
            return None
        return _DIRECTIVE.sub(lambda found: "0" * _TIME[found[1]], self._time_spec)

    @property
    def pattern(self) -> str:
        """A regular expression for all texts of a token whose value isn't known: a part, an extension, a column."""
        if self.name == "part":
            width = int(found[1] or 1) if (found := _WIDTH.fullmatch(self.spec)) else 1
            return f"(?:[0-9]{{{width}}}|[1-9][0-9]{{{width},}})"
        return _EXTENSION if self.name == "ext" else "[^/]+"

    def is_ended_by(self, text: str) -> bool:
        """Whether what comes next to this token can't be part of its own text."""
        ends = _ENDS.get(self.name)
        return ends is not None and ends.search(text) is not None

    @property
    def _time_spec(self) -> str:
        return self.spec or _DEFAULTS[self.name]


def check_spec(token: Token, template: str) -> None:
    """Refuse what a token can't be written as."""
    if token.name in _DIRECTIVES:
        _check_time(token, template)
    elif token.name == "part" and not _WIDTH.fullmatch(token.spec):
        raise ConfigurationError(
            f"{token} in name={template!r} is no way to write a number: use {{part:05d}}, or a width from 01d to 09d."
        )
    elif token.name != "part" and token.spec:
        raise ConfigurationError(f"{token} in name={template!r} takes no format: write {{{token.name}}}.")


def _check_time(token: Token, template: str) -> None:
    known = _DIRECTIVES[token.name]
    asked = _DIRECTIVE.findall(token.spec)
    if wrong := [f"%{letter}" for letter in asked if letter not in known]:
        hours = token.name == "date" and all(f[1:] in _TIME for f in wrong)
        advice = f"use {{timestamp:{token.spec}}}" if hours else f"use {' '.join(f'%{letter}' for letter in known)}"
        raise ConfigurationError(f"{token} in name={template!r} takes no {', '.join(wrong)}: {advice}.")
    if token.spec and not asked:
        raise ConfigurationError(
            f"{token} in name={template!r} has nothing of a time in it: write {{{token.name}:{_DEFAULTS[token.name]}}}."
        )
