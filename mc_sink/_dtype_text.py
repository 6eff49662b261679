"""Parse a dtype that was written as Polars prints it. Nothing but dtypes and literals is evaluated."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable


def parse_dtype(text: str, find: Callable[[Any], Any]) -> Any:
    """Return what `find`, Pandera's own look-up, returns for the dtype of a text such as `Int64` or `List(Int64)`.

    Raises ValueError if neither knows the dtype. Pandera parses such texts only since 0.35, in a function of its own.
    """
    for name in (text, text.lower()):
        with suppress(TypeError):
            return find(name)
    try:
        return find(_built(ast.parse(text, mode="eval").body))
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(f"{text!r} is not a dtype of Polars") from None


def read_dtype(text: str) -> pl.DataType:
    """Return the dtype of a text."""
    found = _built(ast.parse(text, mode="eval").body)
    dtype: pl.DataType = found() if isinstance(found, type) else found
    return dtype


def _built(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and isinstance(dtype := getattr(pl, node.id, None), type(pl.DataType)):
        return dtype
    if isinstance(node, ast.Call):
        named = {argument.arg or "": _built(argument.value) for argument in node.keywords}
        return _built(node.func)(*map(_built, node.args), **named)
    if isinstance(node, ast.List):
        return [_built(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        return {_built(key): _built(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)
