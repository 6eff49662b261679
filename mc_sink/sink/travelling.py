"""Choose what of a delivery may travel to workers, and find the credentials there, which never travel.

A `Delivery` is pickled, written as JSON, and may be shown in an engine's logs and plans. So only options that can't
hold a secret are in it. Each process finds its own credentials: where AWS' libraries look for them, or in a function
that the caller names.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any
from zlib import crc32

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.scrub import names_that_may_hold_secrets
from mc_sink.secret import Sealed, seal, shown

_ADVICE = (
    "A delivery travels to workers, in pickles, logs and plans. Leave credentials to each machine (a role, a web "
    'identity, a mounted secret, the environment), or pass credentials="module:function", a function that returns '
    "storage_options and is called in each process."
)


def travelling(storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options as plain values. Raises `ConfigurationError` for one that may hold a secret."""
    given = seal(storage_options).checked()
    if refused := next(names_that_may_hold_secrets(given), None):
        raise ConfigurationError(f"{refused} of storage_options, or of the platform, can't travel. {_ADVICE}")
    return {name: _plain(value) for name, value in given.reveal().items()}


def _plain(value: Any) -> Any:
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def storage_options_here(plain: Mapping[str, Any], credentials: str | None) -> Sealed | None:
    """Return the options of this process: those that travelled, and those of the function that is named.

    Raises `ConfigurationError` for a function that can't be found, or that returns something else or an option that
    has travelled too.
    """
    if credentials is None:
        return seal(plain) if plain else None
    found = _call(credentials)
    if twice := sorted(set(found) & set(plain)):
        raise ConfigurationError(
            f"{credentials} returned {', '.join(map(shown, twice))}, which storage_options has too. Leave one out."
        )
    return seal({**plain, **found}).checked()


def _call(credentials: str) -> Sealed:
    """Return the options of the function, sealed before any variable holds them."""
    module, separator, name = credentials.partition(":")
    try:
        function = getattr(import_module(module), name if separator else "")
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"credentials={credentials!r} can't be found in this process: {error}. Name a function that every worker "
            'can import, as in "module:function".'
        ) from None
    found = seal(function())
    return found.checked()


def columns_as_text(columns: pl.Schema) -> str:
    """Return columns as text, with a checksum: Polars must not read a frame that was damaged on its way."""
    empty = BytesIO()
    columns.to_frame().write_ipc(empty)
    return b64encode(crc32(empty.getvalue()).to_bytes(4) + empty.getvalue()).decode()


def columns_in(text: str) -> pl.Schema:
    """Read back what `columns_as_text` returned; raise `ValueError` if it was damaged."""
    found = b64decode(text, validate=True)
    if crc32(found[4:]).to_bytes(4) != found[:4]:
        raise ValueError("The columns are damaged.")
    return pl.read_ipc(BytesIO(found[4:])).schema
