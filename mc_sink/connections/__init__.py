"""A connection: a saved source, target and options, as a TOML file that may be committed; and what runs it.

file ─load─► Connection ─deliver─► record: running ─► sink_madconnect ─► record: delivered ─► hooks
                 └─rehearse─► Rehearsal: schema, sample, keys; nothing is written
"""

from mc_sink.connections._arguments import GIVEN_BY_RUN, arguments_for, stored_at
from mc_sink.connections._deliver import deliver
from mc_sink.connections._load import Connection, load, of_document
from mc_sink.connections._rehearse import Rehearsal, inspect, rehearse
from mc_sink.connections._scheduler import Child, Scheduler
from mc_sink.connections._settings import Guard, Hooks, Schedule, Settings, Source
from mc_sink.connections._triggers import trigger_of

__all__ = [
    "GIVEN_BY_RUN",
    "Child",
    "Connection",
    "Guard",
    "Hooks",
    "Rehearsal",
    "Schedule",
    "Scheduler",
    "Settings",
    "Source",
    "arguments_for",
    "deliver",
    "inspect",
    "load",
    "of_document",
    "rehearse",
    "stored_at",
    "trigger_of",
]
