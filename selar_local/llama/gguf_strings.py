"""Arrays of strings in a GGUF file, found and compared without making a Python object of each string."""

from __future__ import annotations

import mmap
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["Fault", "find_duplicate", "find_strings"]

Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_U64 = struct.Struct("<Q").unpack_from
_WINDOW = 1 << 20  # bytes looked at in one go
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Fault(Exception):
    """What is wrong with a file; the text follows the file's name. ``cut`` when the file merely ends too early."""

    def __init__(self, text: str, *, cut: bool = False) -> None:
        super().__init__(text)
        self.cut = cut


def find_strings(data: mmap.mmap, start: int, count: int) -> tuple[Offsets, int]:
    """Where each of ``count`` length-prefixed strings from ``start`` on lies, and where the last one ends.

    A length below 256 shows as seven zero bytes, which text does not hold: NumPy finds all of them at once, and the
    chain (each string ends where the next begins) proves them. The rest is walked one by one. Raises Fault.
    """
    if count > (len(data) - start) // 8:
        raise Fault(f"ends inside a list of {count} strings", cut=True)
    pieces: list[Offsets] = []
    position, left, window = start, count, _WINDOW
    while left:
        chain, position = _proved_chain(data, position, min(left * 24 + 64, window), left)
        pieces.append(chain)
        left -= len(chain)
        # where long strings abound the window stays small, else each of them would cost a look at all of it
        window = min(window * 4, _WINDOW) if len(chain) * 64 > window else 1024
        if left and not len(chain):
            length = _U64(data, position)[0] if position + 8 <= len(data) else len(data)
            pieces.append(np.array([position], dtype=np.int64))
            position += 8 + length
            left -= 1
        if position > len(data):
            raise Fault("ends inside a list of strings", cut=True)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.int64)), position


def _proved_chain(data: mmap.mmap, position: int, window: int, limit: int) -> tuple[Offsets, int]:
    """The unbroken run of at most ``limit`` short strings from ``position``, and where it ends."""
    span = min(window, len(data) - position)
    if span < 16:
        return np.zeros(0, np.int64), position
    words = np.ndarray((span - 7,), "<u8", data, position, (1,))
    heads = np.flatnonzero(words < 256)
    if not len(heads) or heads[0] != 0:
        return np.zeros(0, np.int64), position
    ends = heads + words[heads].astype(np.int64) + 8
    breaks = np.flatnonzero(ends[:-1] != heads[1:])
    proved = min(limit, int(breaks[0]) + 1 if len(breaks) else len(heads))
    return heads[:proved] + position, position + int(ends[proved - 1])


def find_duplicate(data: mmap.mmap, offsets: Offsets, end: int) -> bytes | None:
    """A text that two of the strings at ``offsets`` share, as C reads them (up to a zero byte), or None.

    Empty strings do not count: llama.cpp gives each a name of its own.
    """
    if len(offsets) < 2:
        return None
    start = int(offsets[0])
    region = data[start : end + 8].ljust(end + 8 - start, b"\0")  # a word may be loaded from every byte
    words = np.ndarray((end - start + 1,), "<u8", region, 0, (1,))
    heads = offsets - start
    lengths = words[heads].astype(np.int64)
    bodies = heads + 8
    _cut_at_zero(region, bodies, lengths, end - start)
    marks = _marks(words, bodies, lengths)
    order = np.sort(marks[lengths > 0])
    twice = order[1:][order[1:] == order[:-1]]
    seen: set[bytes] = set()
    for index in np.flatnonzero(np.isin(marks, twice)).tolist() if len(twice) else ():
        text = region[bodies[index] : bodies[index] + lengths[index]]
        if text in seen:
            return text
        if text:
            seen.add(text)
    return None


def _cut_at_zero(region: bytes, bodies: Offsets, lengths: Offsets, size: int) -> None:
    """Shortens in place the strings that hold a zero byte; there are none in any sound file."""
    zeros = size - np.count_nonzero(np.frombuffer(region, np.uint8, size))
    if zeros == 8 * len(lengths) - np.count_nonzero(lengths.view(np.uint8)):
        return
    for index, begin in enumerate(bodies.tolist()):
        end = region.find(b"\0", begin, begin + int(lengths[index]))
        if end >= 0:
            lengths[index] = end - begin


def _marks(words: Words, bodies: Offsets, lengths: Offsets) -> Words:
    """A 64-bit mark per string: equal strings have equal marks, and unequal ones hardly ever do."""
    marks = lengths.astype(np.uint64)
    live, at, rest = np.arange(len(lengths)), bodies, lengths
    while len(live):
        spare = (8 - np.minimum(rest, 8)).astype(np.uint64) << np.uint64(3)
        # a shift by 64 is not defined, hence the two steps of it for an empty string
        word = (words[at] << (spare >> np.uint64(1))) << (spare - (spare >> np.uint64(1)))
        mixed = ((marks if len(live) == len(marks) else marks[live]) ^ word) * _PRIME
        mixed ^= mixed >> np.uint64(29)
        if len(live) == len(marks):
            marks = mixed
        else:
            marks[live] = mixed
        longer = np.flatnonzero(rest > 8)
        live, at, rest = live[longer], at[longer] + 8, rest[longer] - 8
    return marks


def short_strings(data: mmap.mmap, offsets: Offsets, end: int, *, longest: int) -> set[bytes]:
    """The strings of 1 to ``longest`` bytes among those at ``offsets``."""
    if not len(offsets):
        return set()
    start = int(offsets[0])
    region = data[start:end]
    words = np.ndarray((max(end - start - 7, 1),), "<u8", region.ljust(8, b"\0"), 0, (1,))
    lengths = words[offsets - start]
    chosen = np.flatnonzero((lengths > 0) & (lengths <= longest))
    begins = (offsets[chosen] - start + 8).tolist()
    return {region[at : at + size] for at, size in zip(begins, lengths[chosen].tolist(), strict=True)}
