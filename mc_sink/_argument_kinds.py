"""Check the values that a caller gave to a class of options by the kinds that its fields are annotated with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from numbers import Integral
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

# A bar between two kinds, and not one within brackets.
_BETWEEN = re.compile(r"\s*\|\s*(?![^\[]*\])")


def _are_texts(values: object) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "None"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "int": (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    "datetime": (lambda value: isinstance(value, datetime), "a datetime"),
    "tuple[str, str]": (_are_texts, "two texts"),
    "tuple[str, ...]": (_are_texts, "a tuple of texts"),
    "Sequence[str]": (_are_texts, "a list of texts"),
    "Mapping[str, str]": (
        lambda value: isinstance(value, Mapping) and _are_texts([*value, *value.values()]),
        "a mapping of texts",
    ),
    "Mapping[str, bool]": (
        lambda value: isinstance(value, Mapping) and all(isinstance(one, bool) for one in value.values()),
        "a mapping to True or False",
    ),
}
# Any other annotation is a choice of a few texts, and perhaps of True, which its class lists.
_CHOICE: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, str), "one of its texts")
_TEXT_OR_TRUE: tuple[Callable[[Any], bool], str] = (lambda value: value is True or isinstance(value, str), "its texts")


def check_kinds(options: DataclassInstance, *names: str, **kinds: type) -> None:
    """Raise `ConfigurationError` for a field whose value is of another kind than its annotation says.

    `names` are the fields to check, by default all: the others have checks of their own with better advice. `kinds`
    are the classes of this library that annotations name. The message repeats no value: it may be a secret.
    """
    known = _KINDS | {name: (_of(kind), f"a {kind.__name__}") for name, kind in kinds.items()}
    known |= {f"tuple[{name}, ...]": (_all_of(kind), f"a tuple of {kind.__name__}") for name, kind in kinds.items()}
    for field in fields(options):
        if names and field.name not in names:
            continue
        types = _BETWEEN.split(str(field.type))
        accepted = [known.get(name, _TEXT_OR_TRUE if "True" in name else _CHOICE) for name in types]
        value = getattr(options, field.name)
        if not any(accepts(value) for accepts, _ in accepted):
            words = " or ".join(dict.fromkeys(words for _, words in accepted))
            raise ConfigurationError(
                f"Cannot use {type(options).__name__}({field.name}=…) with a {type(value).__name__}. Give {words}."
            )


def _of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, type)


def _all_of(kind: type) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list | tuple) and all(isinstance(value, kind) for value in values)
