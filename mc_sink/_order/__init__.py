"""What the caller asked for, and what it comes to: target, names, format, bounds; checked before anything is opened.

options ──► order, on its platform ──► the receiver's values where there are none ──► checked ──► resolved
"""

from mc_sink._order._options import DEFAULT_REJECTS, FormatName, Options, Order, takes_options
from mc_sink._order._own_source import refuse_own_source, scanned
from mc_sink._order._resolve import resolve, schema_name
from mc_sink._order._resolved import Resolved

__all__ = [
    "DEFAULT_REJECTS",
    "FormatName",
    "Options",
    "Order",
    "Resolved",
    "refuse_own_source",
    "resolve",
    "scanned",
    "schema_name",
    "takes_options",
]
