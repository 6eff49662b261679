"""`module:function`: what a connection file names in Python, found and called."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mc_sink._beside import import_beside
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def find_named(name: str, folder: Path) -> Any:
    """Return what `module:name` names, in a module beside the connection file, or else in one that is installed."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{name!r} is no module:function. {NOTHING_VISIBLE}")
    try:
        found: Any = import_beside(folder, module)
    except ModuleNotFoundError as error:
        if error.name not in {module, module.partition(".")[0]}:
            raise
        raise ConfigurationError(
            f"0 modules are named {module}, which {name} needs: install it, or put it into {folder}. {NOTHING_VISIBLE}"
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module} has no {part}{nearest(part, dir(found))} {NOTHING_VISIBLE}")
        found = getattr(found, part)
    return found


def call_named(name: str, folder: Path, arguments: Mapping[str, Any]) -> Any:
    """Call a function by its name; what it raises arrives as it is."""
    found = find_named(name, folder)
    if not callable(found):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, and no function. {NOTHING_VISIBLE}")
    return found(**arguments)


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of the right names is the nearest, as the end of a sentence."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else "."
