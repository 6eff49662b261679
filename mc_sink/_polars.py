"""The dtypes that not every supported Polars has, each under its name.

The package imports them from here. An older Polars has no column of a dtype that it lacks, so a class of ours stands in
that no dtype is an instance of, and that is equal to none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from polars import BaseExtension, Float16, Int128, Map, UInt128
else:

    def _dtype(name: str) -> type[pl.DataType]:
        """Return Polars' dtype of a name; where it lacks one, a class that stands in for it."""
        return getattr(pl, name, None) or type(name, (pl.DataType,), {"__doc__": f"No column is a {name} here."})

    BaseExtension = _dtype("BaseExtension")
    Float16 = _dtype("Float16")
    Int128 = _dtype("Int128")
    Map = _dtype("Map")
    UInt128 = _dtype("UInt128")

__all__ = ["BaseExtension", "Float16", "Int128", "Map", "UInt128"]
