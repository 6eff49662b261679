"""Import modules beside a connection file, under names that contain the folder, so that equal names stay apart.

    /etc/feeds/rows.py  ──►  mc_sink.connector.beside.<the folder, in hex>.rows

Neither `sys.path` nor the working directory changes. An `import` in such a module looks in its folder first, as in a
script that Python runs, and then on Python's path. Modules that are compiled into Python come before both. A module
that the program has already imported from the same file is reused. Because the name contains the folder, another
process with mc_sink finds the module by its name, and its functions can be pickled.
`importlib.import_module("sibling")` does not look in the folder. Write `import_module(".sibling", __package__)`.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

from mc_sink.records import BESIDE, without_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

__path__: list[str] = []  # makes this module a package, whose modules `_Finder` finds


def import_beside(folder: Path, name: str) -> ModuleType:
    """Import the module `name` from `folder`, or else from Python's path.

    Raises `ModuleNotFoundError`, whose `name` is the requested one, and the exceptions of the module.
    """
    importlib.invalidate_caches()  # the file may be new
    if not _lies_in(str(folder), name.partition(".")[0]):
        return importlib.import_module(name)
    try:
        return importlib.import_module(f"{BESIDE}{os.fsencode(folder.resolve()).hex()}.{name}")
    except ModuleNotFoundError as error:
        error.name = without_folder(error.name or "")
        raise


def _folder_of(package: str) -> str:
    return os.fsdecode(bytes.fromhex(package.removeprefix(BESIDE)))


def _lies_in(folder: str, top: str) -> bool:
    """Return True if `top` is a module of the folder that the program has not imported from elsewhere."""
    found = None if top in sys.builtin_module_names else PathFinder.find_spec(top, [folder])
    if found is None:
        return False
    if found.origin is None:  # a folder without __init__.py; any module precedes it, as in Python
        return top not in sys.modules and importlib.util.find_spec(top) is None
    loaded = getattr(sys.modules.get(top), "__file__", None)
    return loaded is None or os.path.realpath(loaded) != os.path.realpath(found.origin)


def _import(  # noqa: PLR0913, PLR0917  as Python calls it
    package: str,
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002  Python passes them by these names
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Import a name for a module beside a connection, from its folder if it is there."""
    top = name.partition(".")[0]
    if level or not _lies_in(_folder_of(package), top):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
    importlib.import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{top}"]


class _Loader(SourceFileLoader):
    """Loads a module whose `import` is `_import`. CPython reads `__import__` from the module's builtins."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        package = ".".join(module.__name__.split(".")[: BESIDE.count(".") + 1])
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": partial(_import, package)}
        super().exec_module(module)


class _Finder:
    """Finds only modules whose names begin with this module's."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a folder, or a module in it."""
        if not name.startswith(BESIDE):
            return None
        if "." not in name.removeprefix(BESIDE):
            folder = ModuleSpec(name, None, is_package=True)
            folder.submodule_search_locations = [_folder_of(name)]
            return folder
        found = PathFinder.find_spec(name, path, target)
        if found is not None and type(found.loader) is SourceFileLoader:
            found.loader = _Loader(found.loader.name, found.loader.path)
        return found


if _Finder not in sys.meta_path:
    sys.meta_path.insert(0, _Finder)  # a class is a finder, too
