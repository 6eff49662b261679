"""Records of runs, without secrets or cell values, and the inbox for those of deliveries from Python.

a delivery ended ──► Run ──► one line of the inbox ──► `mc_sink.connector.history` moves it into its table
"""

from mc_sink.records.aliases import aliased, is_aliased, located
from mc_sink.records.inbox import PYTHON, has_lines, recorded, taken
from mc_sink.records.record import (
    Beginning,
    Details,
    Failure,
    Run,
    Status,
    TimedOut,
    as_row,
    as_run,
    facts_of,
    now,
    status_of,
)
from mc_sink.records.redact import BESIDE, ending_of, failure_of, without_folder

__all__ = [
    "BESIDE",
    "PYTHON",
    "Beginning",
    "Details",
    "Failure",
    "Run",
    "Status",
    "TimedOut",
    "aliased",
    "as_row",
    "as_run",
    "ending_of",
    "facts_of",
    "failure_of",
    "has_lines",
    "is_aliased",
    "located",
    "now",
    "recorded",
    "status_of",
    "taken",
    "without_folder",
]
