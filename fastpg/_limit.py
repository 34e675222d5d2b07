# SPDX-License-Identifier: MIT
"""One limit of connections for pools on several event loops.

Each pool has a `Share` of the limit. A connection needs a permit. It is given back when the connection has ended, and
goes to the pool with the fewest connections of those that wait for one. Those that have connections are told on their
own loops that one is wanted, and then

- what has been idle for IDLE seconds is closed;
- of what is in use, the next connection that is released is closed where a pool has more than its fair part, by two or
  more than who waits; and, QUANTUM seconds after its last permit, also where a pool has nothing at all for as long.

What is counted here is guarded by the lock of the `Limiter`. All else of a Share is of the thread of its loop alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from fastpg._dispatch import Limit, Permits

if TYPE_CHECKING:
    from fastpg.pool import Pool, PoolConnectionHolder

IDLE = 0.001  # seconds that a connection lies idle before it is closed for somebody else
PATIENCE = 1.0  # seconds that a permit waits for the server's process, which counts until it ends, to have ended
QUANTUM = 0.05  # seconds that a pool has a permit for at the least, while others have none
SWEEP = 0.1  # seconds between two looks for loops that have ended, while somebody waits


class Permit:
    """The right to have one connection."""

    __slots__ = ("promised", "share")

    def __init__(self, share: Share) -> None:
        self.share: Share | None = share
        self.promised = False  # its connection is being closed because somebody else wants it

    def bind(self, closed: asyncio.Future[None]) -> None:
        """It ends with a connection."""
        closed.add_done_callback(self.end)

    def end(self, closed: object = None) -> None:
        """Give it back, once."""
        share, self.share = self.share, None
        if share is not None:
            share.limiter.give_back(share, self.promised)

    def renew(self) -> Permit | None:
        """The permit for the connection that replaces this one; None when it has ended."""
        share, self.share = self.share, None
        return Permit(share) if share is not None else None


class Limiter(Limit):
    """The limit, and who has how much of it."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self.promised = 0  # connections that are being closed for who waits
        self.lock = threading.Lock()
        self.shares: list[Share] = []
        self.line: deque[Share] = deque()  # those that wait, in the order in which they came

    def join(self, loop: asyncio.AbstractEventLoop) -> Share:
        """The share of a new pool on a loop."""
        self.sweep()
        share = Share(self, loop)
        with self.lock:
            self.shares.append(share)
        return share

    def held(self) -> int:
        """How many connections there are, or are being made or closed."""
        with self.lock:
            return sum(share.held for share in self.shares)

    def give_back(self, share: Share, promised: bool) -> None:
        """A permit of a share is free again."""
        with self.lock:
            if share.gone:
                return
            share.held -= 1
            if promised:
                share.promised -= 1
                self.promised -= 1
            heir = self._grant()
        self._deliver([heir])

    def _grant(self) -> Share | None:
        """Who gets a permit that is free now. Called with the lock held."""
        if not self.line:
            self.free += 1
            return None
        heir = min(self.line, key=Share.precedence)
        self.line.remove(heir)
        heir.wants -= 1
        self.wanted -= 1
        heir.held += 1
        heir.granted_at = time.monotonic()
        if heir.wants:
            self.line.append(heir)
        return heir

    def _deliver(self, heirs: list[Share | None]) -> None:
        """Tell them on their loops that they have got a permit."""
        for heir in heirs:
            if heir is not None and not heir.call(heir.receive):
                self.collect(heir)
        if self.wanted > 0:
            self.nudge()

    def nudge(self) -> None:
        """Tell those that have connections that some are wanted."""
        with self.lock:
            told = [share for share in self.shares if share.held and not share.nudged]
            for share in told:
                share.nudged = True
        for share in told:
            if not share.call(share.look):
                self.collect(share)

    def sweep(self) -> None:
        """Collect the shares of loops that have ended."""
        with self.lock:
            dead = [share for share in self.shares if share.is_dead()]
        for share in dead:
            self.collect(share)

    def collect(self, share: Share) -> None:
        """A share is of no more use: its loop has ended. What it has goes to the others."""
        with self.lock:
            if share.gone:
                return
            share.gone = True
            self.shares.remove(share)
            if share in self.line:
                self.line.remove(share)
            self.wanted -= share.wants
            self.promised -= share.promised
            freed, share.held, share.wants = share.held, 0, 0
        # The server is to know of it before others take the places.
        share.cut_off()
        with self.lock:
            heirs = [self._grant() for _ in range(freed)]
        self._deliver(heirs)


class Share(Permits):
    """What one pool has of the limit."""

    def __init__(self, limiter: Limiter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limiter)
        self.limiter = limiter
        self.loop = weakref.ref(loop)
        self.pool: weakref.ref[Pool[Any]] | None = None
        # Guarded by the limiter's lock:
        self.held = 0
        self.wants = 0
        self.promised = 0
        self.since = 0.0  # time.monotonic() at which it has begun to wait
        self.granted_at = 0.0
        self.nudged = False
        self.gone = False
        # Of the loop's thread:
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0

    # ------------------------------------------------------------ from any thread

    def precedence(self) -> tuple[bool, int]:
        """The least one gets a permit first; of equals, who waits longer."""
        return not self.is_running(), self.held

    def is_running(self) -> bool:
        """Its loop runs."""
        loop = self.loop()
        return loop is not None and loop.is_running()

    def is_dead(self) -> bool:
        """Its loop is closed, or forgotten."""
        loop = self.loop()
        return loop is None or loop.is_closed()

    def call(self, function: Any) -> bool:
        """Call a function on the loop's thread, soon; False when the loop has ended."""
        loop = self.loop()
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def living(self) -> Pool[Any] | None:
        """The pool, unless it is forgotten."""
        return self.pool() if self.pool is not None else None

    def cut_off(self) -> None:
        """End the sockets of a pool whose loop does not run: nobody else can."""
        pool = self.living()
        for holder in pool._holders if pool is not None else ():
            transport = holder._con._client.transport if holder._con is not None else None
            sock = transport.get_extra_info("socket") if transport is not None else None
            if sock is not None:
                # uvloop's has no shutdown(): it has closed its sockets with the loop.
                with contextlib.suppress(OSError, TypeError, AttributeError):
                    sock.shutdown(socket.SHUT_RDWR)

    # --------------------------------------------------------- on the loop's thread

    def take(self) -> Permit | None:
        """A permit, if there is one that nobody waits for."""
        limiter = self.limiter
        with limiter.lock:
            if limiter.free <= 0 or self.gone:
                return None
            limiter.free -= 1
            self.held += 1
            self.granted_at = time.monotonic()
        return Permit(self)

    def secure(self, holder: PoolConnectionHolder) -> bool:
        """Whether a holder has a connection that can be used, or may open one."""
        if holder.is_connected():
            if not holder.is_stale():
                return True
            holder.permit = holder.lease.renew()
        if holder.permit is None:
            holder.permit = self.take()
        return holder.permit is not None

    def want(self, need: int) -> None:
        """Wait for permits until `need` of them are outstanding."""
        limiter = self.limiter
        at_once = 0
        with limiter.lock:
            if self.gone:
                return
            while self.outstanding < need:
                self.outstanding += 1
                if limiter.free > 0:
                    limiter.free -= 1
                    self.held += 1
                    self.granted_at = time.monotonic()
                    at_once += 1
                    continue
                if not self.wants:
                    self.since = time.monotonic()
                    limiter.line.append(self)
                self.wants += 1
                limiter.wanted += 1
        loop = self.loop()
        assert loop is not None
        for _ in range(at_once):
            loop.call_soon(self.receive)
        if self.wants:
            limiter.nudge()
            self.look_in(SWEEP)

    def receive(self) -> None:
        """A permit has come."""
        self.outstanding -= 1
        pool = self.living()
        permit = Permit(self)
        if pool is None or pool._closed or not pool._queue.grant(permit):
            permit.end()

    def on_idle(self) -> None:
        """Fewer wait than before, or none and a connection lies idle."""
        pool, limiter = self.living(), self.limiter
        need = 0 if pool is None or pool._closed else pool._queue.wanting()
        if self.outstanding > need:
            with limiter.lock:
                surplus = min(self.outstanding - need, self.wants)
                self.wants -= surplus
                limiter.wanted -= surplus
                self.outstanding -= surplus
                if surplus and not self.wants and self in limiter.line:
                    limiter.line.remove(self)
        if limiter.wanted > 0:
            self.look_in(IDLE)

    def look_in(self, seconds: float) -> None:
        """look() in a while; sooner when that is due already."""
        loop = self.loop()
        if loop is None:
            return
        when = loop.time() + seconds
        if self.timer is not None:
            if self.timer_at <= when:
                return
            self.timer.cancel()
        self.timer_at = when  # not every loop's handle tells it
        self.timer = loop.call_at(when, self.look)

    def look(self) -> None:
        """See what can be given to others."""
        with self.limiter.lock:
            self.nudged = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        pool = self.living()
        if pool is None or pool._closed or self.gone:
            return
        queue = pool._queue
        while self.limiter.wanted > 0 and (longest := queue.idle_longest()) is not None:
            holder, since = longest
            if holder.is_connected():
                age = time.monotonic() - since
                if age < IDLE:
                    self.look_in(IDLE - age)
                    break
                if not self.promise(must=False):
                    break
                self.give(pool, holder)
            queue.remove(holder)
            queue.put(holder)
        self.plan()
        if self.wants:
            self.limiter.sweep()
            self.look_in(SWEEP)

    def plan(self) -> None:
        """Whether connections that are in use have to be given, now or later."""
        with self.limiter.lock:
            due = self.due(time.monotonic())
        self.giving = due == 0
        if due:
            self.look_in(due)

    def due(self, now: float) -> float | None:
        """Seconds until a connection in use has to be given to others; None when none has. With the lock held."""
        limiter = self.limiter
        if limiter.wanted <= limiter.promised or self.gone:
            return None
        others = [share for share in limiter.line if share is not self and share.is_running()]
        left = self.held - self.promised
        if not others or not left:
            return None
        if min(share.held for share in others) + limiter.promised + 1 < left:
            return 0
        poor = [share for share in others if share.held == 0]
        if limiter.promised < len(poor):
            return max(poor[0].since + QUANTUM - now, self.granted_at + QUANTUM - now, 0)
        return None

    def promise(self, must: bool) -> bool:
        """Promise a connection to who waits. must: only when it has to be."""
        limiter = self.limiter
        with limiter.lock:
            if limiter.wanted <= limiter.promised or must and self.due(time.monotonic()) != 0:
                return False
            limiter.promised += 1
            self.promised += 1
        return True

    def on_release(self, holder: PoolConnectionHolder) -> bool:
        """A connection has been released that may have to go; whether it does."""
        pool = self.living()
        gives = pool is not None and self.promise(must=True)
        if gives:
            assert pool is not None
            self.give(pool, holder)
        self.plan()
        return gives

    def give(self, pool: Pool[Any], holder: PoolConnectionHolder) -> None:
        """Close a connection that nobody uses; its permit goes to who waits."""
        con, holder._con = holder._con, None
        holder.lease.promised = True
        con._client.patience = PATIENCE
        pool._finish_later(con.close(), con.terminate)
