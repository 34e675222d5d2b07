# SPDX-License-Identifier: MIT
"""Whether several statements may be under way on a connection: some proxies lose all but the first of a write.

It is found out once for each address and process, on the first connection of a pipelined pool there, in one round trip.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from fastpg import exceptions
from fastpg.client import Client
from fastpg.protocol.probe import Probe

logger = logging.getLogger(__name__)

LIMIT = 2.0  # seconds for all answers
STATEMENTS = 3

# Address -> the round trip in seconds; None: one statement at a time.
_known: dict[Any, float | None] = {}


async def round_trip(client: Client, address: Any) -> float | None:
    """Seconds that an answer takes at this address; None when only one statement may be under way.

    When that is found out just now, the connection has lost something and must be closed. Raises what breaks the
    connection; an error of the server is an answer.
    """
    if address not in _known:
        began = time.monotonic()
        waiter = client.run(Probe(STATEMENTS))
        try:
            done, _ = await asyncio.wait([waiter], timeout=LIMIT)
        except asyncio.CancelledError:
            client.abandon(waiter)
            raise
        if done:
            if isinstance(waiter.exception(), exceptions.ConnectionDoesNotExistError | exceptions.InterfaceError):
                await waiter
            _known[address] = time.monotonic() - began
        else:
            _known[address] = None
            where = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else address
            logger.warning(
                "%s answers only the first of several statements that are sent at once: the pool sends one at a time",
                where,
            )
            client.abandon(waiter)
    return _known[address]
