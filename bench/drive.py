# SPDX-License-Identifier: MIT
"""Do one subject's works between marks: what bench.instructions counts.

    python -m bench.drive fastpg postgresql://... wide:2 fetchval:2000

Prints a line of each work that was done, in order; between its two marks are so many steps.
"""

from __future__ import annotations

import gc
import sys

from bench.drivers import driver
from bench.mark import mark
from bench.server import new_event_loop
from bench.works import WORKS


async def main(subject: str, dsn: str, works: list[str]) -> None:
    """Warm up, mark, do the work, mark."""
    import fastpg

    admin = await fastpg.connect(dsn)
    for text in works:
        name, _, steps = text.partition(":")
        step = await driver(subject, dsn).step(WORKS[name])
        if step is None:
            continue
        await step.run()
        await step.run()
        if WORKS[name].table:
            await admin.execute(f"TRUNCATE {WORKS[name].table}")
        gc.collect()
        gc.disable()  # when the collector happens to run is not part of anybody's cost
        mark()
        for _ in range(int(steps)):
            await step.run()
        mark()
        gc.enable()
        await step.close()
        print(name, flush=True)
    await admin.close()


if __name__ == "__main__":
    new_event_loop().run_until_complete(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
