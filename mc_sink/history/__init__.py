"""What ran on this machine: one record for each run, in SQLite, with no secret and no cell value.

    begin ──► running ──► delivered | skipped | failed | interrupted

The file `history.sqlite3` lies beside the folder of journals, for its owner alone. A run that is going holds a lock
that goes with it, so a record that says "running" and whose lock is free was killed, and reads as "interrupted".
"""

from mc_sink.history._locks import Busy, hold
from mc_sink.history._record import Failure, Run, Status
from mc_sink.history._redact import failure_of, masked
from mc_sink.history._runs import Beginning, Ongoing, begin, find_run, last_rows, list_runs, note_recovered

__all__ = [
    "Beginning",
    "Busy",
    "Failure",
    "Ongoing",
    "Run",
    "Status",
    "begin",
    "failure_of",
    "find_run",
    "hold",
    "last_rows",
    "list_runs",
    "masked",
    "note_recovered",
]
