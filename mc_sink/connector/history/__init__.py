"""The history of runs on this machine: one record for each run, in SQLite, without secrets or cell values.

    begin ──► running ──► delivered | skipped | failed | interrupted

The file `history.sqlite3` lies beside the folder of journals, for its owner alone. A run that is going holds a lock
that goes with it, so a record that says "running" and whose lock is free was killed, and reads as "interrupted".
"""

from mc_sink.connector.history.record import Run, Status
from mc_sink.connector.history.redact import masked
from mc_sink.connector.history.runs import Beginning, Busy, begin, find_run, hold, last_rows, list_runs, note_recovered

__all__ = [
    "Beginning",
    "Busy",
    "Run",
    "Status",
    "begin",
    "find_run",
    "hold",
    "last_rows",
    "list_runs",
    "masked",
    "note_recovered",
]
