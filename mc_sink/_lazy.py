"""Load the package's parts on first use, so that `import mc_sink` costs little more than importing Polars.

Measured: the rooms together take 80 ms of a processor, most of it for making classes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

HOUSE = "mc_sink"


def room(name: str) -> ModuleType:
    """Load a room, once."""
    return import_module(f"{HOUSE}.{name}")


def attributes(homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Give a module's `__getattr__` (PEP 562) for names that live in these rooms."""
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name in home_of:
            return getattr(room(home_of[name]), name)
        if name in homes:
            return room(name)
        raise AttributeError(f"module {HOUSE!r} has no attribute {name!r}")

    return find
