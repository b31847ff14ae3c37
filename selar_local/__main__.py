"""``python -m selar_local`` is the command ``selar-local``."""

from __future__ import annotations

from selar_local.cli.entry import main

if __name__ == "__main__":
    main()
