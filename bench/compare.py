# SPDX-License-Identifier: MIT
"""Compare two stored results of bench.instructions: python -m bench.compare before.json after.json

Exits with 1 when fastpg costs more than 3 % above what it did on any work.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TOLERANCE = 1.03


def main(before: str, after: str) -> int:
    """Print work by work."""
    old, new = (json.loads(Path(path).read_text())["instructions"] for path in (before, after))
    worse = 0
    for work in sorted(set(old) & set(new)):
        a, b = old[work]["fastpg"], new[work]["fastpg"]
        mark = "WORSE" if b > a * TOLERANCE else ""
        worse += bool(mark)
        print(f"{work:16}{a:12,.0f} -> {b:12,.0f}  {b / a:6.3f} {mark}")
    return 1 if worse else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
