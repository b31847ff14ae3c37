"""Options that are lists in one text, as llama.cpp takes them: the shares of GPUs, the places of workers."""

from __future__ import annotations

import math

from selar_local.options import require


def shares_of(text: str) -> tuple[float, ...]:
    """The numbers of ``3,1`` or ``3/1``. Raises OptionError."""
    shares = []
    for part in text.replace("/", ",").split(","):
        try:
            share = float(part)
        except ValueError:
            share = -1.0
        require(0 <= share < math.inf, f"tensor_split must be numbers of at least 0, such as 3,1, not {text!r}")
        shares.append(share)
    return tuple(shares)


def places_of(text: str) -> tuple[str, ...]:
    """The places of ``host:port,host:port``. Raises OptionError."""
    places = tuple(part.strip() for part in text.split(","))
    for place in places:
        host, _, port = place.rpartition(":")
        good = host != "" and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
        require(good, f"rpc must be places such as 192.168.1.7:50052, not {place!r}")
    return places
