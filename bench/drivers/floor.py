# SPDX-License-Identifier: MIT
"""The floors: what the least costs that any driver has to do. Not drivers: they check and decode nothing.

The protocol floor (bench/protocol_floor.py) sends the same bytes and throws the answers away; the object floor
(bench/floor.pyx) only makes the Python objects of a result.
"""

from __future__ import annotations

from bench import protocol_floor
from bench.drivers.base import Call, Driver, Step, bulk, chunks
from bench.protocol_floor import SYNC, Floor, message, query
from bench.works import ROWS, Work, read


class FloorDriver(Driver):
    """Where there is a floor."""

    async def fetchval(self, work: Work) -> Step:
        """Bind, Execute, Sync; one Future."""
        protocol = await protocol_floor.connect(self.dsn)
        request = await protocol_floor.prepare(protocol, work.query) + SYNC

        async def run() -> None:
            await protocol.ask(request)

        return _step(run, protocol)

    async def fetch(self, work: Work) -> Step | None:
        """The objects of the rows, from nothing."""
        from bench import floor as objects

        make = getattr(objects, work.name, None)
        if make is None:
            return None

        async def run() -> None:
            read(make(ROWS))

        return Step(run)

    async def pool(self, work: Work) -> Step:
        """All tasks' queries of one turn in one write, a Sync each, on one connection."""
        protocol = await protocol_floor.connect(self.dsn)
        one = await protocol_floor.prepare(protocol, work.query, 1) + SYNC
        size = await protocol.measure(one) * work.tasks
        requests = one * work.tasks

        async def run() -> None:
            for _ in range(work.units // work.tasks):
                await protocol.ask_for(requests, size)

        return _step(run, protocol)

    async def pipeline(self, work: Work) -> Step:
        """The same bytes as a driver sends, at once; a Sync each."""
        protocol = await protocol_floor.connect(self.dsn)
        one = await protocol_floor.prepare(protocol, work.query, 7) + SYNC
        size = await protocol.measure(one)

        async def run() -> None:
            await protocol.ask_for(one * len(work.rows), size * len(work.rows))

        return _step(run, protocol)

    async def atomic(self, work: Work) -> Step:
        """The same; one Sync."""
        protocol = await protocol_floor.connect(self.dsn)
        one = await protocol_floor.prepare(protocol, work.query, 7)
        size = await protocol.measure(one + SYNC)
        ready = await protocol.measure(SYNC)
        count = len(work.rows)

        async def run() -> None:
            await protocol.ask_for(one * count + SYNC, (size - ready) * count + ready)

        return _step(run, protocol)

    fetchmany = atomic

    async def connect_close(self, work: Work) -> Step:
        """A socket, a startup message, the answer, Terminate."""

        async def run() -> None:
            (await protocol_floor.connect(self.dsn)).close()

        return Step(run)

    async def copy_out(self, work: Work) -> Step:
        """A bare receiving loop."""
        protocol = await protocol_floor.connect(self.dsn)
        request = query(work.query)
        size = await protocol.measure(request)

        async def run() -> None:
            await protocol.ask_for(request, size)

        return _step(run, protocol)

    async def copy_in(self, work: Work) -> Step:
        """A bare sending loop."""
        protocol = await protocol_floor.connect(self.dsn)
        pieces = [message(b"d", piece) for piece in chunks(await bulk(self.dsn))]
        request, done = query(work.query), message(b"c", b"")
        columns = 3
        response = 1 + 4 + 1 + 2 + 2 * columns  # CopyInResponse

        async def run() -> None:
            await protocol.ask_for(request, response)
            await protocol.send(pieces)
            await protocol.ask(done)

        return _step(run, protocol)


def _step(run: Call, protocol: Floor) -> Step:
    async def close() -> None:
        protocol.close()

    return Step(run, close)
