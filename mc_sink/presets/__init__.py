"""The documented limits, dialects, splitting and names of receivers as plain values, and the checks against them.

    preset = replace(preset_of("excel"), max_rows_per_file=None)    the caller's own arguments override
    preset.check(schema)                                            columns, headers and dtypes, before the run
    batches = preset.watch(batches)                                 cells, rows and their number, on the way

The source of every number is in docs/receivers.md.
"""

from __future__ import annotations

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
    from difflib import get_close_matches

    shown = repr(asked) if isinstance(asked, str) else f"a {type(asked).__name__}"
    near = get_close_matches(asked.strip().lower(), PRESETS, n=1) if isinstance(asked, str) else ()
    meant = "".join(f" Did you mean {name!r}?" for name in near)
    raise ConfigurationError(
        f"Cannot use preset={shown}. Give one of {', '.join(map(repr, PRESETS))}, or a Preset(...).{meant}"
    )
