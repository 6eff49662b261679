"""The documented limits, dialects, splitting and names of receivers as plain values, and the checks against them."""

from __future__ import annotations

import os

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.presets.catalog import PRESETS
from mc_sink.presets.limit import Limit
from mc_sink.presets.preset import Preset
from mc_sink.presets.preset_file import read_preset

__all__ = ["PRESETS", "Limit", "Preset", "preset_of"]


def preset_of(asked: object) -> Preset | None:
    """Return a preset by its name, from a TOML file, or the caller's own; None for None.

    Raises `ConfigurationError` for any other value.
    """
    if asked is None or isinstance(asked, Preset):
        return asked
    if isinstance(asked, str) and asked in PRESETS:
        return PRESETS[asked]
    if isinstance(asked, os.PathLike) or (isinstance(asked, str) and asked.endswith(".toml")):
        return read_preset(asked)
    shown = repr(asked) if isinstance(asked, str) else f"a {type(asked).__name__}"
    meant = nearest(asked, PRESETS) if isinstance(asked, str) else ""
    raise ConfigurationError(
        f"Cannot use preset={shown}. Give one of {', '.join(map(repr, PRESETS))}, a TOML file, or a Preset(...).{meant}"
    )
