"""Suppress the DEBUG logs of our own requests, which contain keys and tokens.

A variable of the running task marks our requests, and a filter on the libraries' loggers reads it. Levels, handlers
and propagation stay as the application set them. The logs of the application's own requests still come, even at the
same moment.

Filters aren't inherited, so each logger gets one. A logger that a library makes later gets it when the next client is
made or the next request begins. (A logger class, a record factory or a filter on handlers would catch it at birth, but
all of these belong to the application.)
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The libraries between a delivery and the wire; the last three serve fsspec's other filesystems.
TALKATIVE = {"s3fs", "aiobotocore", "botocore", "aiohttp", "fsspec", "urllib3", "paramiko", "smbprotocol"}
_is_our_request: ContextVar[bool] = ContextVar("mc_sink_silence", default=False)


class _Discreet(logging.Filter):
    """Drops the records of our own requests below INFO, and the tracebacks of those above.

    botocore logs a failed refresh of credentials with a traceback, and then raises it or goes on. An exception that is
    raised becomes an error of this library, with more information in one line.

    `known`: all loggers when they were last looked through, and the libraries' among them.
    """

    known: tuple[dict[str, logging.Logger | logging.PlaceHolder], list[logging.Logger]] = {}, []

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_our_request.get():
            return True
        if record.exc_info and record.exc_info[0]:
            record.msg, record.args = f"{record.getMessage()} ({record.exc_info[0].__name__})", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return record.levelno >= logging.INFO


_discreet = _Discreet()


@contextmanager
def silence() -> Iterator[None]:
    """Silence what the libraries log below INFO in this task or thread, and in tasks that begin here."""
    silence_loggers()
    before = _is_our_request.set(True)
    try:
        yield
    finally:
        _is_our_request.reset(before)


def silence_loggers() -> None:
    """Put the filter on every logger that the libraries have made so far; a logger keeps it only once.

    A program has hundreds of loggers, so their names are read again only after a new one was made.
    """
    seen, talkative = _discreet.known
    if logging.root.manager.loggerDict != seen:
        seen = logging.root.manager.loggerDict.copy()
        talkative = [
            logger
            for name, logger in seen.items()
            if isinstance(logger, logging.Logger) and name.partition(".")[0] in TALKATIVE
        ]
    for logger in talkative:
        if _discreet not in logger.filters:
            logger.addFilter(_discreet)
    _discreet.known = seen, talkative
