"""The low-density valley between certain and torn steps in a sample of normalised entropies.

1. Steps up to a floor are certain by definition. Whether there is a valley at all is asked of the steps above it: if
   their density never rises (`selar_local.analysis.monotone`), there is none.
2. Where it is: the antimode of a Gaussian kernel density, reflected at 0 and 1, at the critical bandwidth, which is the
   smallest that leaves one antimode left of the rise (Silverman 1981); the middle of the valley's bottom.

Pure NumPy, deterministic, blind to the order of the steps. docs/CALIBRATION.md tells how it was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from selar_local.analysis.monotone import largest_rise
from selar_local.config import require

Floats = npt.NDArray[np.float64]

_LEVEL = 0.05  # of the test
_CERTAIN = 0.95  # share of the first candidate
_FEWEST = 50  # torn steps: from there on the test's limit law holds
_CELLS = 400
_BANDWIDTHS = tuple(0.01 * 1.06**i for i in range(60))  # 0.01 to 0.31
_BOTTOM = 1.05  # the bottom of the valley: at most this times its lowest density
_BOOTSTRAP = 200


@dataclass(frozen=True)
class Valley:
    """What a sample of entropies shows.

    at: the valley; None where there is none, and `reason` says why. low, high: between them lie 90 % of the places that
    bootstrap samples give. depth: how far its density lies below the lower of the two peaks beside it, 0 to 1.
    p_value: of the test that the density above the floor never rises; None where too few steps are there to test it.
    torn: of all `steps` those above the floor.
    """

    at: float | None
    steps: int
    torn: int
    floor: float
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    depth: float | None = None
    reason: str = ""


def certain_entropy(k: int) -> float:
    """Normalised entropy of a step whose first candidate holds 95 %, the other k - 1 the rest in equal parts.

    The floor: steps up to it are certain. 0.212 for k = 3.
    """
    rest = (1.0 - _CERTAIN) / (k - 1)
    return -(_CERTAIN * math.log(_CERTAIN) + (1.0 - _CERTAIN) * math.log(rest)) / math.log(k)


def find_valley(entropies: npt.ArrayLike, *, floor: float | None = None) -> Valley:
    """The valley of `entropies`, (n,) values between 0 and 1.

    floor: steps up to it are certain (default: `certain_entropy` of k = 3). Raises OptionError for values out of range.
    """
    values = np.sort(np.asarray(entropies, np.float64).ravel())
    floor = certain_entropy(3) if floor is None else floor
    require(0.0 <= floor < 1.0, f"floor must be at least 0 and below 1, not {floor!r}")
    require(bool(((values >= 0.0) & (values <= 1.0)).all()), "entropies must be numbers between 0 and 1")
    torn = values[values > floor]
    found = Valley(None, values.shape[0], torn.shape[0], floor)
    if found.torn < _FEWEST:
        return replace(found, reason=f"only {found.torn} steps lie above {floor:.2f}, {_FEWEST} are needed to tell")
    rise = largest_rise(torn, floor, 1.0)
    found = replace(found, p_value=rise.p_value)
    if rise.p_value > _LEVEL:
        return replace(found, reason=f"above {floor:.2f} the density does not clearly rise again")
    return _located(found, values, rise.at)


def same_share(entropies: npt.ArrayLike, threshold: float, others: npt.ArrayLike) -> float | None:
    """The threshold for `others` that as many steps reach as reach `threshold` in `entropies`; both (n,).

    None where no step does, or where so many of `others` are not above 0.
    """
    reached = int((np.asarray(entropies) >= threshold).sum())
    falling = -np.sort(-np.asarray(others, np.float64))
    if not reached or falling[reached - 1] <= 0.0:
        return None
    below = falling[reached] if reached < falling.shape[0] else 0.0
    return float((falling[reached - 1] + below) / 2.0)


def _located(found: Valley, values: Floats, rise: float) -> Valley:
    """`found` with the antimode left of the rise, at the critical bandwidth."""
    counts = np.histogram(values, _CELLS, (0.0, 1.0))[0].astype(np.float64)
    end = max(math.ceil(rise * _CELLS), 1)
    density, valleys = counts, [0]
    for bandwidth in _BANDWIDTHS:
        density = _density(counts, bandwidth)
        valleys = _antimodes(density[:end])
        if len(valleys) <= 1:
            break
    if len(valleys) != 1:
        return replace(found, reason="the density has no peak of certain steps before its rise")
    lowest = valleys[0]
    start = int(density[: lowest + 1].argmax())
    peak = min(density[start], density[lowest:].max())
    random = np.random.Generator(np.random.PCG64(0))
    samples = random.multinomial(values.shape[0], counts / counts.sum(), _BOOTSTRAP).astype(np.float64)
    places = [_bottom(_density(sample, bandwidth), start, end) for sample in samples]
    low, high = np.quantile(places, (0.05, 0.95)).tolist()
    depth = float(1.0 - density[lowest] / peak)
    return replace(found, at=_bottom(density, start, end), low=low, high=high, depth=depth)


def _density(counts: Floats, bandwidth: float) -> Floats:
    """Gaussian kernel density (not normalised) at the cells' middles, reflected at both ends."""
    reach = math.ceil(5.0 * bandwidth * _CELLS)
    distances = np.arange(-reach, reach + 1) / (bandwidth * _CELLS)
    return np.convolve(np.pad(counts, reach, mode="symmetric"), np.exp(-0.5 * distances**2), mode="valid")


def _antimodes(density: Floats) -> list[int]:
    """Cells where a falling density begins to rise, or where it ends falling. The first cell is none."""
    slopes = np.sign(np.diff(density))
    places = np.flatnonzero(slopes) + 1
    signs = np.append(slopes[slopes != 0], 1.0)
    turns = np.flatnonzero((signs[:-1] < 0) & (signs[1:] > 0))
    return [int(place) for place in places[turns]]


def _bottom(density: Floats, start: int, end: int) -> float:
    """The middle of the valley's bottom within the cells [start, end), in [0, 1]."""
    window = density[start:end]
    low = np.flatnonzero(window <= _BOTTOM * window.min())
    return float((start + (low[0] + low[-1]) / 2.0 + 0.5) / _CELLS)
