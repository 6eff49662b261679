"""The way to the stores of a delivery, for who comes back to it: credentials are given anew, or by a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.platforms import load, memory_of
from mc_sink.storage import Stores
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.object_options import ObjectOptions
    from mc_sink.platforms import Platform


def stores_for(
    target: str,
    platform: str | Platform | None,
    storage_options: Mapping[str, Any] | None,
    object_options: ObjectOptions | None = None,
) -> Stores:
    """Open nothing yet; raises where the target is outside of what the platform may be used for."""
    if platform is None:
        return Stores(storage_options, object_options)
    chosen = load(platform) if isinstance(platform, str) else platform
    options = chosen.storage_options_for(parse_target(target), storage_options)
    return Stores(options, object_options, memory_of(platform))
