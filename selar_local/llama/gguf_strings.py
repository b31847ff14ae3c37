"""Steps over an array of strings in a GGUF file without making a Python object of each string."""

from __future__ import annotations

import mmap
import struct

import numpy as np

_U64 = struct.Struct("<Q").unpack_from
_WINDOW = 1 << 17  # bytes looked at in one go; what fits the cache is fastest


class Fault(Exception):
    """What is wrong with a file; the text follows the file's name. ``cut`` when the file merely ends too early."""

    def __init__(self, text: str, *, cut: bool = False) -> None:
        super().__init__(text)
        self.cut = cut


def skip_strings(data: mmap.mmap, start: int, count: int) -> int:
    """Where the last of ``count`` length-prefixed strings from ``start`` on ends. Raises Fault.

    A length below 256 shows as seven zero bytes, which text does not hold: NumPy finds all of them at once, and the
    chain (each string ends where the next begins) proves them. The rest is walked one by one.
    """
    if count > (len(data) - start) // 8:
        raise Fault(f"ends inside a list of {count} strings", cut=True)
    position, left, window = start, count, _WINDOW
    while left:
        proved, position = _proved_chain(data, position, min(left * 24 + 64, window), left)
        left -= proved
        # where long strings abound the window stays small, else each of them would cost a look at all of it
        window = min(window * 4, _WINDOW) if proved * 64 > window else 1024
        if left and not proved:
            length = _U64(data, position)[0] if position + 8 <= len(data) else len(data)
            position += 8 + length
            left -= 1
        if position > len(data):
            raise Fault("ends inside a list of strings", cut=True)
    return position


def _proved_chain(data: mmap.mmap, position: int, window: int, limit: int) -> tuple[int, int]:
    """How many short strings, ``limit`` at most, follow each other from ``position`` on, and where the last ends."""
    span = min(window, len(data) - position)
    if span < 16:
        return 0, position
    zero = np.frombuffer(data, np.uint8, span, position) == 0
    twos = zero[:-1] & zero[1:]
    fours = twos[:-2] & twos[2:]
    heads = np.flatnonzero(fours[1:-3] & fours[4:])  # seven zero bytes after the one here
    if not len(heads) or heads[0] != 0:
        return 0, position
    ends = heads + np.frombuffer(data, np.uint8, span, position)[heads] + 8
    breaks = np.flatnonzero(ends[:-1] != heads[1:])
    proved = min(limit, int(breaks[0]) + 1 if len(breaks) else len(heads))
    return proved, position + int(ends[proved - 1])
