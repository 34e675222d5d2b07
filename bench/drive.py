# SPDX-License-Identifier: MIT
"""Run one subject's work so many times and end: what bench.instructions counts.

    python -m bench.drive fastpg wide 4 postgresql://...
"""

from __future__ import annotations

import gc
import sys

from bench.workloads import new_event_loop, subject


async def main(name: str, work: str, times: int, dsn: str) -> None:
    """Connect, warm up, do the work."""
    step, close = await subject(name, dsn, work)
    await step()
    gc.collect()
    gc.disable()        # when the collector happens to run is not part of anybody's cost
    for _ in range(times):
        await step()
    await close()


if __name__ == "__main__":
    loop = new_event_loop()
    loop.run_until_complete(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
