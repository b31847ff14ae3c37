"""The general format: thinking in tags, and no calls."""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.reader import Reader

GENERAL = Format("general", ((),), Reader)
