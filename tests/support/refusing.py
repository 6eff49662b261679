"""A process whose kernel refuses some system calls, as filesystems do that have no hard links or no locks.

`refuse` sets a filter of the kernel (seccomp), for this process and for good.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

import pytest

# By machine: the calls' numbers, from Linux' tables of them.
_NUMBERS: dict[str, dict[str, tuple[int, ...]]] = {
    "x86_64": {"link": (86, 265), "flock": (73,)},
    "aarch64": {"link": (37,), "flock": (32,)},
}
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000

needs_filters = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in _NUMBERS, reason="filters of system calls are Linux'"
)


def refuse(call: str, reason: int) -> None:
    """Make every later call of a kind fail with `reason`, a number of `errno`."""
    numbers = _NUMBERS[platform.machine()][call]
    steps = [struct.pack("HBBI", _LOAD, 0, 0, 0)]  # the number of the call
    steps += [struct.pack("HBBI", _EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [struct.pack("HBBI", _RETURN, 0, 0, _ALLOW), struct.pack("HBBI", _RETURN, 0, 0, _ERROR | reason)]
    text = ctypes.create_string_buffer(b"".join(steps))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

    program = Program(len(steps), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0
