"""The names of columns in the files, where they differ from those of the frame."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.csv_dialect import first_cell_end
from mc_sink.formats.csv_values import starts_like_formula

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mc_sink.formats.format import Format

ColumnNames = Literal["as_is", "snake", "repeated"] | Mapping[str, str]
NAMINGS = ("as_is", "snake", "repeated")
_BOM = "\ufeff"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NUMBERED = re.compile(r"(.+)\.[1-9][0-9]*")


def check_naming(value: Any, kind: str, namings: tuple[str, ...]) -> None:
    """Raise for a value that doesn't name columns."""
    is_mapping = isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)
    if not is_mapping and not (isinstance(value, str) and value in namings):
        shown = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
        raise ConfigurationError(
            f"{kind}(column_names={shown}) is not possible. Use {', '.join(map(repr, namings))}, or a mapping of names."
        )


def names_in_files(format: Format, columns: Iterable[str]) -> dict[str, str]:
    """Return the name that each column has in the files of a format; the frame's where several have one."""
    naming: ColumnNames = getattr(format, "column_names", "as_is")
    return file_names(columns, "as_is" if naming == "repeated" else naming)


def headers_of(format: Format, columns: Iterable[str]) -> list[str]:
    """Return the headers of the files, of which several may be equal."""
    return list(file_names(columns, getattr(format, "column_names", "as_is")).values())


def file_names(columns: Iterable[str], naming: ColumnNames) -> dict[str, str]:
    """Return the name that each column has in the files.

    Raises `ConfigurationError` for a column of a mapping that the frame lacks, for a name without a letter or digit,
    and for two columns that would have one name, unless they are numbered and "repeated" asks for it.
    """
    columns = list(columns)
    if isinstance(naming, Mapping):
        if unknown := [name for name in naming if name not in columns]:
            raise ConfigurationError(f"column_names= renames {unknown}, and the files have no such column. Correct it.")
        names = {name: naming.get(name, name) for name in columns}
    elif naming == "repeated":
        found = {name: _NUMBERED.fullmatch(name) for name in columns}
        return {name: match[1] if match and match[1] in columns else name for name, match in found.items()}
    else:
        names = {name: _snake(name) if naming == "snake" else name for name in columns}
    by_name: dict[str, list[str]] = {}
    for name, new in names.items():
        by_name.setdefault(new, []).append(name)
    if twice := {new: old for new, old in by_name.items() if len(old) > 1}:
        shown = "; ".join(f"{', '.join(map(repr, old))} as {new!r}" for new, old in twice.items())
        raise ConfigurationError(f"Columns would have one name in the files: {shown}. Rename them by a mapping.")
    return names


def _snake(name: str) -> str:
    """Return a name in lower case, with `_` between its words, of ASCII letters and digits only."""
    plain = _plain(name)
    if lost := [letter for letter in name if letter.isalnum() and not _plain(letter)]:
        raise ConfigurationError(
            f"The column {name!r} has {lost[0]!r}, which has no ASCII letter. Rename it by a mapping."
        )
    words = "_".join(_WORD.findall(plain)).lower()
    if not words:
        raise ConfigurationError(f"The column {name!r} has no letter or digit. Rename it by a mapping.")
    return f"_{words}" if words[0].isdigit() else words


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()


def check_header(names: Sequence[str], ends: str, formulas: str, *, include_bom: bool) -> None:
    """Raise `ConfigurationError` for headers that readers would change, or that a spreadsheet would execute."""
    if names[0].startswith(_BOM):
        raise ConfigurationError(
            f"The header {names[0]!r} starts with a byte order mark, which readers would drop. Rename the column."
        )
    if include_bom and first_cell_end(ends, names[0]):  # DuckDB 2.0 doesn't recognise quotes after the mark
        raise ConfigurationError(
            f"The header {names[0]!r} needs quotes after the file's byte order mark, where some readers don't "
            "recognise them. Rename the column, or leave include_bom out."
        )
    found = [name for name in names if starts_like_formula(name)]
    if formulas == "raise" and found:
        raise ConfigurationError(
            f"{counted(len(found), 'header', 'start')} like a formula, which a spreadsheet would execute: "
            f"{found}. Rename them, or use Csv(formulas='escape') or Csv(formulas='allow')."
        )
    if formulas == "escape" and (twice := [name for name in found if f"'{name}" in names]):
        raise ConfigurationError(
            f"{counted(len(twice), 'header')} would occur twice once escaped: {twice}. Rename the columns."
        )
