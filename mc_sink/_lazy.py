"""Load the package's parts on first use, so that `import mc_sink` costs little more than importing Polars.

Measured: all modules together take 80 ms of processor time, most of it to create classes.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from inspect import Signature, signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

PACKAGE = "mc_sink"


def load_part(name: str) -> ModuleType:
    """Return a module of the package, imported on first use."""
    return import_module(f"{PACKAGE}.{name}")


@cache
def type_adapter(kind: Any) -> Any:
    """Return pydantic's adapter of a type, which reads its values from plain ones."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def attributes(homes: Mapping[str, str], module: str = PACKAGE) -> Callable[[str], Any]:
    """Return the `__getattr__` (PEP 562) of `module` for names that are defined in other modules of the package."""
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name in home_of:
            return getattr(load_part(home_of[name]), name)
        if name in homes:
            return load_part(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


class OfInstances:
    """An attribute that only instances of a class have, found out when it is asked for.

    `inspect` looks for `__signature__` on instances and on classes alike. Without `of_class` a class doesn't have it.
    """

    def __init__(self, find: Callable[[], Any], of_class: Any = None) -> None:
        self._find, self._of_class = find, of_class

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is not None:
            return self._find()
        if self._of_class is None:
            raise AttributeError("only instances have it")
        return self._of_class


def without_frame(call: Callable[..., Any]) -> Signature:
    """Return the signature of a call whose first argument, a frame, is known already."""
    seen = signature(call)
    return seen.replace(parameters=[*seen.parameters.values()][1:])
