# SPDX-License-Identifier: MIT
"""Two event-loop threads beside one, on a free-threaded CPython: python -m bench.threads [--anyway]

Each thread has a loop, a session and a statement of its own, and decodes a recorded answer of the server again and
again: no socket and no server are in the way. The speed-up is what two threads decode by what one does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from typing import Any

from bench.server import new_event_loop, prepared_server
from bench.works import WORKS, read
from fastpg.protocol.operation import Execute, StatementPlan
from fastpg.protocol.session import Session
from fastpg.sinks.record import RecordSink
from tests.wiretap import wiretap

TURNS = 7
SECONDS = 0.5
PIECE = 64 * 1024


def reason_not_to() -> str | None:
    """Why threads cannot run at the same time here; None when they can."""
    enabled = getattr(sys, "_is_gil_enabled", None)
    if enabled is None:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has a GIL; this needs a free-threaded one, 3.13t on"
    if enabled():
        return "the GIL is enabled: this Python is not free-threaded, or an extension that was imported needs it"
    return None


async def record(dsn: str, query: str) -> tuple[StatementPlan, list[bytes]]:
    """A statement of a connection of its own, and the server's answer to it in pieces."""
    import fastpg

    async with wiretap(dsn) as (tap, tapped):
        connection = await fastpg.connect(tapped)
        rows = await connection.fetch(query)
        tap.clear()
        assert len(await connection.fetch(query)) == len(rows)
        answer = b"".join(data for who, data in tap.said if who == "server")
        plan = connection._cache.get(query)
        await connection.close()
    assert isinstance(plan, StatementPlan)
    return plan, [answer[i : i + PIECE] for i in range(0, len(answer), PIECE)]


async def decode(plan: StatementPlan, pieces: list[bytes], until: float) -> int:
    """How many answers are decoded until then."""
    import fastpg

    count = 0
    while time.perf_counter() < until:
        session = Session()
        operation = session.submit(Execute(plan, (), RecordSink(fastpg.Record)))
        session.take_output()
        for piece in pieces:
            session.feed(piece)
        read(operation.result)
        count += 1
        await asyncio.sleep(0)
    return count


def rate(recorded: list[tuple[StatementPlan, list[bytes]]], threads: int) -> float:
    """Answers a second that so many threads decode together."""
    barrier = threading.Barrier(threads)
    counts = [0.0] * threads

    def main(number: int) -> None:
        loop = new_event_loop()
        barrier.wait()
        begun = time.perf_counter()
        count = loop.run_until_complete(decode(*recorded[number], begun + SECONDS))
        counts[number] = count / (time.perf_counter() - begun)
        loop.close()

    running = [threading.Thread(target=main, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts)


def measure(dsn: str, anyway: bool = False) -> dict[str, Any]:
    """{"speedup": ..., "turns": [...]}, or {"reason": why there is nothing to measure}."""
    reason = reason_not_to()
    if reason is not None and not anyway:
        return {"reason": reason}
    loop = new_event_loop()
    recorded = [loop.run_until_complete(record(dsn, WORKS["wide"].query)) for _ in range(2)]
    rate(recorded, 1)
    turns = []
    for _ in range(TURNS):
        one = rate(recorded, 1)
        turns.append(rate(recorded, 2) / one)
    return {"speedup": statistics.median(turns), "turns": turns}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="a server that trusts us; without it one is started")
    parser.add_argument("--anyway", action="store_true", help="with a GIL, too: to see that this program works")
    options = parser.parse_args()
    reason = reason_not_to()
    if reason is not None and not options.anyway:
        print(f"not measured: {reason}")
        return
    with prepared_server(options.dsn) as dsn:
        result = measure(dsn, options.anyway)
    print(f"two threads decode {result['speedup']:.2f} x what one does")


if __name__ == "__main__":
    main()
