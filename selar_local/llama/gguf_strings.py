"""Arrays of strings in a GGUF file, found and compared without making a Python object of each string."""

from __future__ import annotations

import mmap
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["Fault", "StringTable", "find_strings"]

Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_U64 = struct.Struct("<Q").unpack_from
_WINDOW = 1 << 17  # bytes looked at in one go; what fits the cache is fastest
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
    zero = np.frombuffer(data, np.uint8, span, position) == 0
    twos = zero[:-1] & zero[1:]
    fours = twos[:-2] & twos[2:]
    heads = np.flatnonzero(fours[1:-3] & fours[4:])  # seven zero bytes after the one here
    if not len(heads) or heads[0] != 0:
        return np.zeros(0, np.int64), position
    ends = heads + np.frombuffer(data, np.uint8, span, position)[heads] + 8
    breaks = np.flatnonzero(ends[:-1] != heads[1:])
    proved = min(limit, int(breaks[0]) + 1 if len(breaks) else len(heads))
    return heads[:proved] + position, position + int(ends[proved - 1])


class StringTable:
    """Many short strings as C reads them (up to a zero byte): where they lie, how long they are, how they begin."""

    def __init__(self, data: mmap.mmap, offsets: Offsets, end: int) -> None:
        start = int(offsets[0]) if len(offsets) else end
        # a copy, so that nothing holds on to the file, with room to load a word from every byte
        self._region = data[start : end + 8].ljust(end + 8 - start, b"\0")
        self._words = np.ndarray((end - start + 1,), "<u8", self._region, 0, (1,))
        self._bodies = offsets - start + 8
        self._lengths = self._words[offsets - start].astype(np.int64)
        self._cut_at_zero(end - start)
        spare = (8 - np.minimum(self._lengths, 8)).view(np.uint64) << np.uint64(3)
        self._half = spare >> np.uint64(1)  # a shift by 64 is not defined, two by 32 are
        self._firsts = self._loaded(self._bodies)

    def _cut_at_zero(self, size: int) -> None:
        """Shortens the strings that hold a zero byte; there are none in any sound file."""
        zeros = size - np.count_nonzero(np.frombuffer(self._region, np.uint8, size))
        if zeros == 8 * len(self._lengths) - np.count_nonzero(self._lengths.view(np.uint8)):
            return
        for index, begin in enumerate(self._bodies.tolist()):
            end = self._region.find(b"\0", begin, begin + int(self._lengths[index]))
            if end >= 0:
                self._lengths[index] = end - begin

    def _loaded(self, places: Offsets) -> Words:
        """Eight bytes of each string from ``places`` on; of shorter strings what they have, above zeros."""
        loaded: Words = (self._words[places] << self._half) << self._half
        return loaded

    def _texts(self, chosen: Offsets) -> list[bytes]:
        begins, sizes = self._bodies[chosen].tolist(), self._lengths[chosen].tolist()
        return [self._region[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]

    def duplicate(self) -> bytes | None:
        """A text that stands twice, or None. Empty ones do not count: llama.cpp gives each a name of its own."""
        rest = np.maximum(self._lengths - 8, 0)
        # length, begin, middle and end tell nearly all strings apart; the few others are compared
        marks = (self._lengths.view(np.uint64) ^ self._firsts) * _PRIME
        marks = (marks ^ (marks >> np.uint64(29)) ^ self._loaded(self._bodies + rest)) * _PRIME
        marks = (marks ^ (marks >> np.uint64(31)) ^ self._loaded(self._bodies + (rest >> 1))) * _PRIME
        order = np.sort(marks[self._lengths > 0])
        twice = order[1:][order[1:] == order[:-1]]
        if not len(twice):
            return None
        seen: set[bytes] = set()
        for text in self._texts(np.flatnonzero(np.isin(marks, twice))):
            if text in seen:
                return text
            if text:
                seen.add(text)
        return None

    def short(self, prefix: bytes, longest: int) -> set[bytes]:
        """The strings of one or two bytes, and those of up to ``longest`` (at most 8) that begin with ``prefix``."""
        spare = np.uint64(64 - 8 * len(prefix))
        wanted = np.frombuffer(prefix.ljust(8, b"\0"), "<u8")[0] << spare
        fit = (self._lengths <= 2) | ((self._lengths <= longest) & (self._words[self._bodies] << spare == wanted))
        return set(self._texts(np.flatnonzero(fit & (self._lengths > 0))))
