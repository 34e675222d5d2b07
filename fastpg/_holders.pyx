# SPDX-License-Identifier: MIT
# The pool's core: the queue of idle holders and the tasks that wait for one. A holder is an object that the pool knows;
# here it is only kept. Rules: a holder is in the queue once or with one borrower, never both; whatever interrupts
# get(), the holder that was handed over goes on to the next waiter. Everything runs on the thread of the pool's loop.
# May import: nothing of fastpg.

from collections import deque


cdef class HolderQueue:
    """Holders, connected ones first and the last used first; waiters are served in the order they came."""

    def __init__(self, loop):
        self.create_future = loop.create_future
        self.connected = []
        self.disconnected = []
        self.waiters = deque()

    def take(self):
        """A holder, or None when there is none or somebody was here before."""
        cdef list connected = self.connected
        # A connection may be lost while it lies here: such a holder counts as disconnected.
        while connected:
            holder = connected.pop()
            if holder.is_connected():
                return holder
            self.disconnected.append(holder)
        if self.disconnected:
            return self.disconnected.pop()
        return None

    def remove(self, holder):
        """Take this holder out; False when it is not here."""
        for where in (self.connected, self.disconnected):
            if holder in where:
                where.remove(holder)
                return True
        return False

    def put(self, holder):
        """Give a holder to the first waiter, or keep it."""
        waiters = self.waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(holder)
                return
        if holder.is_connected():
            self.connected.append(holder)
        else:
            self.disconnected.append(holder)

    async def get(self):
        """A holder, as soon as there is one."""
        holder = self.take()
        if holder is not None:
            return holder
        waiter = self.create_future()
        self.waiters.append(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.put(waiter.result())
            elif not waiter.done():
                waiter.cancel()
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            raise

    def fail(self, error):
        """All waiters get this error."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def qsize(self):
        """How many holders nobody uses."""
        return len(self.connected) + len(self.disconnected)

    def waiting(self):
        """How many tasks wait."""
        return len(self.waiters)
