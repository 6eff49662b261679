"""Encodings of a CSV other than UTF-8: characters that one doesn't have are refused, and bytes are encoded on the way.

Polars writes UTF-8. Its bytes are decoded piece by piece, at the borders of characters, and encoded again.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.formats.format import BinaryFile

UTF8 = "utf-8"
# The accepted encodings, with Python's codecs for them. UTF-16 is little-endian, after a byte order mark.
CODECS = {UTF8: UTF8, "utf-16": "utf-16-le", "windows-1252": "cp1252", "latin-1": "latin-1", "shift_jis": "shift_jis"}
_BOM = "\ufeff"


def is_encodable(text: str, encoding: str) -> bool:
    """Return True if the text can be read back from its bytes; in Shift JIS, some characters share bytes."""
    codec = CODECS[encoding]
    try:
        return text.encode(codec).decode(codec) == text
    except UnicodeError:
        return False


def find_unencodable(encoding: str) -> Callable[[pl.Series], pl.Series | None]:
    """Return a function that finds cells with a character that the encoding doesn't have."""

    def find(values: pl.Series) -> pl.Series | None:
        if not isinstance(values.dtype, (pl.String, pl.Categorical, pl.Enum)):
            return None
        texts = values.cast(pl.String)
        suspects = texts.str.contains(r"[^\x20-\x5b\x5d-\x7d\t\r\n]").fill_null(value=False)
        if not suspects.any():
            return None
        found = pl.zeros(len(texts), pl.Boolean, eager=True)
        wrong = [place for place in suspects.arg_true() if not is_encodable(texts[place], encoding)]
        return found.scatter(wrong, values=True) if wrong else None

    return find


def refuse_names(schema: pl.Schema, encoding: str, *, include_header: bool) -> None:
    """Raise for headers, and for names inside nested columns, with a character that the encoding doesn't have."""
    names = [
        name
        for name, dtype in schema.items()
        if (include_header and not is_encodable(name, encoding))
        or (dtype.is_nested() and not is_encodable(str(dtype), encoding))
    ]
    if names:
        raise ConfigurationError(
            f"Csv(encoding={encoding!r}) can't write the names of the columns {names}, or names inside them: it "
            "doesn't have all of their characters. Rename them, or use another encoding."
        )


class Encoder:
    """A file that takes UTF-8 and passes on the same text in another encoding."""

    def __init__(self, file: BinaryFile, encoding: str) -> None:
        self._file, self._codec = file, CODECS[encoding]
        self._decoder = getincrementaldecoder(UTF8)()
        self._taken = 0
        if encoding == "utf-16":
            self._file.write(_BOM.encode(self._codec))

    def write(self, data: bytes) -> int:
        """Encode bytes of UTF-8; a character that isn't complete waits for its other bytes."""
        self._taken += len(data)
        if encoded := self._decoder.decode(bytes(data)).encode(self._codec):
            self._file.write(encoded)
        return len(data)

    def flush(self) -> None:
        """Leave the buffer to the file."""
        self._file.flush()

    def tell(self) -> int:
        """Return the number of bytes taken."""
        return self._taken
