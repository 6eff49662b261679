"""The history of runs on this machine: one record for each run, in SQLite, without secrets or cell values.

    begin ──► running ──► delivered | skipped | failed | interrupted

The file `history.sqlite3` is beside the folder of journals, and only its owner can read it. A run holds a lock that
ends with its process. So a "running" record whose lock is free belongs to a killed run, and reads as "interrupted".
"""

from mc_sink.connector.history.record import Run, Status
from mc_sink.connector.history.redact import failure_of
from mc_sink.connector.history.runs import Beginning, Busy, begin, find_run, hold, last_rows, list_runs, note_recovered

__all__ = [
    "Beginning",
    "Busy",
    "Run",
    "Status",
    "begin",
    "failure_of",
    "find_run",
    "hold",
    "last_rows",
    "list_runs",
    "note_recovered",
]
