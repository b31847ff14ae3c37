"""What hypothesis draws from, for the tests of several methods."""

from __future__ import annotations

from hypothesis import strategies as st

from selar_local.config import SamplingConfig

__all__ = ["samplings"]


def samplings(fewest: int = 0, most: int = 50) -> st.SearchStrategy[SamplingConfig]:
    """Filters of all strengths. fewest, most: the bounds of top_k."""
    return st.builds(
        SamplingConfig,
        temperature=st.floats(0.2, 3),
        top_k=st.integers(fewest, most),
        top_p=st.floats(0.05, 1),
        min_p=st.floats(0, 0.3),
    )
