"""Standard streams that were closed before the process began."""

from __future__ import annotations

import os

_STREAMS = (0, 1, 2)


def open_closed_streams() -> None:
    """Open the standard streams that are closed, as the null device.

    A descriptor that stays closed would be that of the next file which is opened, also by a library that is imported,
    and what is printed would be written into it. A query once waited for ever: its engine had that descriptor.
    """
    for number in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            lead_nowhere(number)


def lead_nowhere(number: int) -> None:
    """Make a descriptor that of the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
