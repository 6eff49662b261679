"""The documented limits, dialects, splitting and names of receivers as plain values, and the checks against them."""

from __future__ import annotations

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.presets.catalog import PRESETS
from mc_sink.presets.limit import Limit
from mc_sink.presets.preset import Preset

__all__ = ["PRESETS", "Limit", "Preset", "preset_of"]


def preset_of(asked: object) -> Preset | None:
    """Return a preset by its name, or the caller's own. Raises `ConfigurationError` for any other value but None."""
    if asked is None or isinstance(asked, Preset):
        return asked
    if isinstance(asked, str) and asked in PRESETS:
        return PRESETS[asked]
    shown = repr(asked) if isinstance(asked, str) else f"a {type(asked).__name__}"
    meant = nearest(asked, PRESETS) if isinstance(asked, str) else ""
    raise ConfigurationError(
        f"Cannot use preset={shown}. Give one of {', '.join(map(repr, PRESETS))}, or a Preset(...).{meant}"
    )
