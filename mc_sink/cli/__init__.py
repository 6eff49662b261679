"""The `mc-sink` command: thin commands over connections, history and recovery.

    words ─► _app (which command) ─► _deliver, _past, _check, _timetable ─► _shown (for people, or JSON)
                     └─ what is raised ─► _ends: one message, one exit code

Libraries that take their time to load are loaded by the command that needs them.
"""

from mc_sink.cli._app import app, main

__all__ = ["app", "main"]
