"""The neutral suite canitoolcall, through the adapter in ``scripts/canitoolcall_suite.py``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("canitoolcall")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from canitoolcall.checks import case_status, run_checks
from canitoolcall.fixtures import load_families, load_fixtures
from canitoolcall_suite import observe

#: The outputs that we read otherwise than the suite asks, and why.
OTHERWISE = {
    "llama/l4-truncated-missing-close-bracket": "a list of two Python calls is cut off in the second: the first is "
    "complete, and we keep it, as the suite asks for two calls in every other format",
}


def test_all_outputs_are_read_right():
    families = load_families()
    counts: Counter[str] = Counter()
    failed = {}
    for fixture in load_fixtures():
        family = families[fixture.family]
        rows = run_checks(fixture, family, observe(fixture, family, chars=len(fixture.raw_output) < 1500))
        status = case_status(rows).value
        counts[status] += 1
        if status not in ("pass", "soft_pass"):
            failed[fixture.id] = [row.detail for row in rows if row.status.value == status]
        cuts = [row for row in rows if row.check in ("stream_equals_nonstream", "split_invariance")]
        assert all(row.status.value == "pass" for row in cuts), fixture.id
    assert set(failed) <= set(OTHERWISE), failed
    assert counts["pass"] + counts["soft_pass"] >= 440
