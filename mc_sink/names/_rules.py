"""What names a template may give: never one name twice, and only names that every reader sees and every store takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, TargetError
from mc_sink.names._apart import blurred
from mc_sink.names._tokens import Token
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.names._template import Template

_BUCKET = "s3://bucket/"
_HIDDEN = re.compile(r"(?:^|/)(?!\.{1,2}(?:/|$))([_.][^/]*)")


def check_unique(template: Template, columns: Sequence[str], *, overwrites: bool, rolls: bool) -> None:
    """Refuse a template that leaves out what two files may differ in.

    The run id is what keeps runs apart: a time to the second is shared by two runs that start in it, and a date by all
    of a day's, and the second one would fail after its work. Only who declares an overwrite may leave it out.
    """
    if not overwrites and not template.uses("run_id"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{run_id}}, so two runs may have the same names: put it in, with a run_id= "
            'of your own if a date is all that it should say (run_id="20261122"), or declare if_exists="overwrite".'
        )
    if rolls and not template.uses("part"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{part}}, and this run may need several files: add {{part:05d}}."
        )
    if template.columns and (missing := [name for name in columns if name not in template.columns]):
        raise ConfigurationError(
            f"name={template.text!r} names {len(template.columns)} of {len(columns)} partition columns, and files may "
            f"differ in {', '.join(missing)} alone: name all of them, or none, and folders are put before the name."
        )


def check_apart(template: Template, constants: Mapping[str, str]) -> None:
    """Refuse tokens that run into each other, and a number that is written in two ways, which no pattern finds."""
    if len({token for token in template.tokens if token.name == "part"}) > 1:
        raise ConfigurationError(f"name={template.text!r} writes {{part}} in two ways: write it in one.")
    if lost := blurred(template, constants):
        raise ConfigurationError(
            f"name={template.text!r} may give two files the same name, because nothing tells where one token ends and "
            f"the next begins: {', '.join(map(str, lost))}. Put a slash between them."
        )


def check_extension(template: Template) -> None:
    """Refuse an extension in mid-name, and one with two dots."""
    *before, last = template.pieces
    if any(isinstance(piece, Token) and piece.name == "ext" for piece in before):
        raise ConfigurationError(f"name={template.text!r} goes on after {{ext}}: put it at the end, or leave it out.")
    if last == Token("ext") and before and isinstance(before[-1], str) and before[-1].endswith("."):
        raise ConfigurationError(f"name={template.text!r} has two dots: {{ext}} brings its own. Leave one out.")


def check_key(name: str, why: str) -> None:
    """Refuse a name that S3 advises against, wherever it is to be, or that readers skip; `why` says what made it."""
    advice = ""
    if name.startswith("/") or name.endswith("/"):
        advice = "a name neither begins nor ends with a slash."
    elif hidden := _HIDDEN.search(name):
        advice = f"Spark, Athena and Hive skip what begins with '_' or '.', as {hidden[1]!r} does. Begin otherwise."
    elif name != name.strip():
        advice = "nobody sees spaces at its ends. Leave them out."
    elif "?" in name:
        advice = "what follows a question mark would be read as a query. Leave it out."
    if advice:
        raise ConfigurationError(f"{why} gives {name!r}: {advice} {NOTHING_VISIBLE}")
    try:
        parse_target(_BUCKET + name)
    except TargetError as error:
        said = str(error).replace(_BUCKET, "")
        raise ConfigurationError(f"{why} gives a name that won't do: {said} {NOTHING_VISIBLE}") from error


def check_text(text: str | None, token: Token) -> str:
    """Return a text that is to stand for a token, or refuse one that isn't one part of a key."""
    if not text:
        advice = "give a schema= that has a name" if token.name == "schema" else "fill it in where it is empty"
        raise ConfigurationError(f"{token} has nothing to stand for: {advice}. {NOTHING_VISIBLE}")
    if "/" in text:
        raise ConfigurationError(
            f"{token} would be {text!r}, and a slash would make a folder: have a text without one. {NOTHING_VISIBLE}"
        )
    return text
