"""A connection: a saved source, target and options, in a TOML file that may be committed.

file ─load─► Connection ─deliver─► record: running ─► sink_madconnect ─► record: delivered ─► hooks
                 └─rehearse─► Rehearsal: schema, sample, keys; nothing is written
"""

from mc_sink.connector.connections.connection_file import Connection, load, of_document
from mc_sink.connector.connections.run import Rehearsal, deliver, inspect, rehearse
from mc_sink.connector.connections.scheduler import Scheduler
from mc_sink.connector.connections.settings import Settings

__all__ = ["Connection", "Rehearsal", "Scheduler", "Settings", "deliver", "inspect", "load", "of_document", "rehearse"]
