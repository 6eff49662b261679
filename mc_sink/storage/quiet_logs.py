"""Suppress the DEBUG logs of our own requests, which contain keys and tokens.

A variable of the running task says whose request it is, and a filter on the libraries' loggers asks it. Levels,
handlers and propagation stay as the application set them, and what it logs of requests of its own still comes, even
at the same moment. Filters aren't inherited, so each logger has one; a logger that a library makes later gets it when
the next client is made or the next request begins. (A logger class, a record factory or a filter on handlers would
catch it at birth, but all of these belong to the application.)
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What stands between a delivery and the wire; the last three, behind fsspec's other filesystems.
TALKATIVE = {"s3fs", "aiobotocore", "botocore", "aiohttp", "fsspec", "urllib3", "paramiko", "smbprotocol"}
_ours: ContextVar[bool] = ContextVar("mc_sink_silence", default=False)


class _Discreet(logging.Filter):
    """Keeps back what is below INFO and ours; of what is above, the traceback alone.

    botocore logs a refresh of credentials that failed with a traceback, and then raises it, or does without. What is
    raised becomes an error of this library, which says more in one line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not _ours.get():
            return True
        if record.exc_info and record.exc_info[0]:
            record.msg, record.args = f"{record.getMessage()} ({record.exc_info[0].__name__})", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return record.levelno >= logging.INFO


_discreet = _Discreet()


@contextmanager
def silence() -> Iterator[None]:
    """Keep back what the libraries log below INFO in this task or thread, and in tasks begun here, until the end."""
    silence_loggers()
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


def silence_loggers() -> None:
    """Put the filter on every logger of theirs that there is by now; where it is already, it stays once."""
    for name, logger in logging.root.manager.loggerDict.copy().items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in TALKATIVE:
            logger.addFilter(_discreet)
