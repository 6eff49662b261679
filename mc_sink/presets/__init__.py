"""What receivers document of their limits, dialects, splitting and names, as plain values, and what checks the data.

    preset = replace(preset_of("excel"), max_rows_per_file=None)    the caller's own arguments override
    preset.check(schema)                                            columns, headers and dtypes, before the run
    batches = preset.watch(batches)                                 cells, rows and their number, on the way

Where every number comes from is in docs/receivers.md.
"""

from __future__ import annotations

from mc_sink.exceptions import ConfigurationError
from mc_sink.presets.catalog import PRESETS
from mc_sink.presets.limit import Limit
from mc_sink.presets.preset import Preset

__all__ = ["PRESETS", "Limit", "Preset", "preset_of"]


def preset_of(asked: object) -> Preset | None:
    """Give a preset by its name, one's own as it is, none for None; raise `ConfigurationError` for anything else."""
    if asked is None or isinstance(asked, Preset):
        return asked
    if isinstance(asked, str) and asked in PRESETS:
        return PRESETS[asked]
    from difflib import get_close_matches

    told = repr(asked) if isinstance(asked, str) else f"a {type(asked).__name__}"
    near = get_close_matches(asked.strip().lower(), PRESETS, n=1) if isinstance(asked, str) else ()
    meant = "".join(f" Do you mean {name!r}?" for name in near)
    raise ConfigurationError(f"preset={told} is none of {', '.join(map(repr, PRESETS))}, nor a Preset(...).{meant}")
