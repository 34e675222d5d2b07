# SPDX-License-Identifier: MIT
"""CancelRequest: on a connection of its own, to the same address, with the same protection."""

from __future__ import annotations

import asyncio
import struct

from fastpg import exceptions
from fastpg._startup import Deadline
from fastpg.connect import Attempt, Session

CANCEL_REQUEST = 80877102


async def send_cancel(session: Session, timeout: float) -> None:
    """Ask the server to cancel what the session runs; returns when the server has acted on it.

    timeout: seconds. Raises OSError, TimeoutError, or InterfaceError when the server gave no key.
    """
    if session.secret_key is None:
        raise exceptions.InterfaceError("the server gave no cancellation key")
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop, timeout)
    attempt = Attempt(session.params, session.target, loop, deadline)
    message = struct.pack("!iii", 12 + len(session.secret_key), CANCEL_REQUEST, session.backend_pid)
    with deadline:
        try:
            protocol = await attempt.open(session.peer, None, None)
            if session.ssl_context is not None:
                direct = session.params.sslnegotiation == "direct"
                if not await attempt.negotiate_tls(protocol, session.ssl_context, direct):
                    raise exceptions.InterfaceError("the server refused TLS for the cancel request")
            attempt.transport.write(message + session.secret_key)
            try:
                while True:
                    # The server closes this connection when it has sent the signal.
                    await protocol.read()
            except ConnectionResetError:
                return
        finally:
            if attempt.transport is not None:
                attempt.transport.abort()
