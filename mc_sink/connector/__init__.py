"""Run saved connections: the command line, schedules and the history of runs (extra `mc-sink[cli]`)."""

from mc_sink.connector.connections import Connection, Scheduler, deliver, load, rehearse
from mc_sink.connector.history import Run, find_run, list_runs

__all__ = ["Connection", "Run", "Scheduler", "deliver", "find_run", "list_runs", "load", "rehearse"]
