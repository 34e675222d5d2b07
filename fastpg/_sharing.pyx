# SPDX-License-Identifier: MIT
# Calls that share connections, of a pipelined pool: a holder has as many in flight as the server needs TARGET seconds
# for, by what it needed before; a statement that is slow, or not known to be quick, has a connection for itself. What
# stands behind a statement has been written: it cannot be taken back.
# May import: _dispatch, call, client, operation, row, sinks.

import re
from collections import deque
from time import monotonic

from libc.stdint cimport uint32_t

from fastpg._dispatch cimport STATEMENTS, Dispatcher, Holder, PoolCall, Request, refuse
from fastpg.call cimport LONG_WAY, limit_of
from fastpg.protocol.operation cimport PHASE_DONE, Operation, StatementPlan
from fastpg.protocol.row cimport RowSink

cdef double TARGET = 0.002      # seconds of the server's work that may be in flight on a shared connection
cdef double SLOW = 0.005        # seconds: a statement that needs as long has a connection for itself
cdef double UNKNOWN = 1000.0    # the cost of one of which nothing is known yet
cdef double GAIN = 0.125        # of the newest measurement in the moving average
cdef double DRIFT = 0.001       # the same for the round trip, of which the shortest counts

SHAREABLE = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*(?:(?!/\*).)*?\*/)*(?:select|values|insert|update|delete|merge|with)\b",
                       re.IGNORECASE | re.DOTALL)


cdef class Statement:
    """What a pool has seen of one SQL text, on all of its connections."""
    cdef bint shareable             # it may run on a connection that others use at the same time
    cdef bint measured
    cdef double service             # seconds that the server needs for it, a moving average


cdef class SharedCall(PoolCall):
    """One of the calls on a shared connection."""
    cdef Statement about
    cdef double began               # time.monotonic()
    cdef double cost                # seconds that it adds to its holder's load


cdef class SharingDispatcher(Dispatcher):
    """A Dispatcher whose calls share connections.

    There are two lines: `waiters` want a connection for themselves, `pending` may share one. A shared holder drains
    when somebody wants one for himself: no more calls are put on it.
    """
    cdef object pending             # deque of Requests
    cdef int drains                 # shared holders that are draining
    cdef bint turn                  # whose of the two lines it is
    cdef dict statements            # SQL -> Statement
    cdef list shared                # holders that calls of several tasks share
    cdef public double target       # seconds of the server's work that may be in flight on a shared connection
    cdef public double slow         # seconds: a statement that needs as long has a connection for itself
    cdef public double round_trip   # seconds from a statement to its answer, apart from what the server needs

    def __init__(self, loop, connection_class, give_back):
        Dispatcher.__init__(self, loop, connection_class, give_back)
        self.pending = deque()
        self.lines = (self.waiters, self.pending)
        self.statements = {}
        self.shared = []
        self.target, self.slow = TARGET, SLOW

    # ------------------------------------------------------------- what is known

    cdef Statement known(self, str query):
        """What is known of a statement; None: nothing, no connection has prepared it."""
        cdef Statement about = self.statements.get(query)
        cdef Holder holder
        if about is None:
            for holder in self.holders:
                if holder.client is not None and query in holder.client.plans:
                    return self.look_at(query, holder.client.plans[query])
        return about

    cdef Statement look_at(self, str query, StatementPlan plan):
        cdef Statement about = Statement.__new__(Statement)
        if len(self.statements) >= STATEMENTS:
            self.statements.clear()
        about.shareable = self.is_direct(query, plan) and SHAREABLE.match(query) is not None
        self.statements[query] = about
        return about

    cdef int forget(self, str query) except -1:
        self.statements.pop(query, None)
        return Dispatcher.forget(self, query)

    cdef bint is_quick(self, Statement about) noexcept:
        """It may run behind others."""
        return about.measured and about.service < self.slow

    cdef int measure(self, Holder holder, SharedCall call) except -1:
        """Learn from a call that has ended how long the server needs for its statement."""
        cdef Statement about = call.about
        cdef double now, took
        if call.phase != PHASE_DONE:
            return 0                # nothing of it was sent
        now = monotonic()
        if call.began >= holder.last_end:
            # Nothing else was under way: the time of the network is in it, which is that of the quickest of these.
            took = now - call.began
            self.round_trip += min(took - self.round_trip, (took - self.round_trip) * DRIFT)
            took -= self.round_trip
        else:
            took = now - holder.last_end
        holder.last_end = now
        took = min(took, 10 * self.slow)    # one that hung does not count for more
        if call.discard or call.error is not None:
            # It was cut short: it may need longer than that.
            if about.measured and took > about.service:
                about.service += (took - about.service) * GAIN
        else:
            about.service = about.service + (took - about.service) * GAIN if about.measured else took
            about.measured = True
        return 0

    # --------------------------------------------------------- the Dispatcher's

    cdef int waits(self, object line) except -1:
        if line is self.waiters:
            self.drain(None)
        return self.ask()

    cdef object next_line(self):
        # Of the two lines each has its turn.
        if not self.pending:
            return self.waiters
        self.turn = not self.turn
        return self.waiters if self.waiters and self.turn else self.pending

    cdef object place(self, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout):
        cdef Statement about = self.known(query)
        if about is None:
            return None
        if about.shareable:
            return self.place_beside(about, query, args, sink, shape, limit, timeout)
        return Dispatcher.place(self, query, args, sink, shape, limit, timeout)

    cdef bint begin_request(self, Holder holder, Request request) except -1:
        cdef Statement about = self.known(request.query)
        cdef bint began = False
        if about is None or not about.shareable or not holder.usable():
            return Dispatcher.begin_request(self, holder, request)
        self.share(holder)
        try:
            began = self.begin_beside(holder, request, about)
        finally:
            if not began:
                self.unshare(holder)
        if began:
            self.serve(holder)
        return began

    cdef int done(self, Holder holder, PoolCall call) except -1:
        if holder.shared:
            return self.done_beside(holder, <SharedCall>call, self.is_odd_after(holder, call))
        return Dispatcher.done(self, holder, call)

    # ------------------------------------------------------- calls that share

    cdef object place_beside(self, Statement about, str query, tuple args, RowSink sink, int shape, uint32_t limit,
                             object timeout):
        cdef Holder holder
        cdef StatementPlan plan = None
        cdef double seconds
        if self.pending and self.is_quick(about):
            return self.wait(self.pending, query, args, sink, shape, limit, timeout)    # behind those
        for holder in self.shared:
            if self.fits(holder, about):
                plan = holder.client.ready_plan(query)
                if plan is not None:
                    break
        else:
            holder = self.pick()
            if holder is None:
                if self.may_connect():
                    return None
                # What needs a connection for itself would never fit behind others that come and go.
                return self.wait(self.pending if self.is_quick(about) else self.waiters, query, args, sink, shape,
                                 limit, timeout)
            if holder.usable():
                plan = holder.client.ready_plan(query)
            if plan is None:
                self.connected.append(holder)
                return None
            self.share(holder)
        seconds = limit_of(holder.client, timeout)
        if seconds == LONG_WAY:
            waiter = None
        else:
            waiter = holder.client.new_future()
            try:
                self.put_beside(holder, plan, about, args, sink, shape, limit, seconds, waiter)
            except BaseException:
                if holder.inflight == 0:
                    self.unshare(holder)
                    self.put(holder)
                raise
        if holder.inflight == 0:
            self.unshare(holder)
            self.put(holder)
        else:
            self.later(holder)
        return waiter

    cdef bint begin_beside(self, Holder holder, Request request, Statement about) except -1:
        # A call that has waited, on a shared holder; False: not in one step.
        cdef StatementPlan plan = self.plan_of(holder, request)
        if plan is None:
            return False
        self.put_beside(holder, plan, about, request.args, request.sink, request.shape, request.limit,
                        limit_of(holder.client, request.timeout), request.waiter)
        self.later(holder)
        return True

    cdef int put_beside(self, Holder holder, StatementPlan plan, Statement about, tuple args, RowSink sink, int shape,
                        uint32_t limit, double seconds, object waiter) except -1:
        """begin(), behind those that are in flight."""
        cdef SharedCall call = SharedCall.__new__(SharedCall)
        holder.clean()
        holder.worn = True
        self.begin(call, holder, plan, args, sink, shape, limit, seconds, waiter)
        call.about = about
        call.began = monotonic()
        call.cost = about.service if about.measured else UNKNOWN
        holder.inflight += 1
        holder.load += call.cost
        return 0

    cdef bint fits(self, Holder holder, Statement about) except -1:
        """Whether a call may be put behind those that are in flight."""
        cdef Operation head
        if holder.draining or not holder.usable():
            return False
        if holder.inflight == 0:
            return True
        head = holder.client.session.head
        if head is not None and head.waiter is not None and not head.discard and head.waiter.done():
            # Cancelled in this turn of the loop: the server will be told, unless something wanted stands behind it.
            return False
        return (self.is_quick(about) and holder.inflight < self.depth
                and holder.load + about.service <= self.target
                # What has been running for longer than it should is no quick statement today.
                and monotonic() - max(holder.last_end, holder.idle_since) < self.slow + self.round_trip)

    cdef int share(self, Holder holder) except -1:
        holder.shared = holder.in_use = True
        holder.inflight = 0
        holder.load = 0
        holder.last_end = holder.idle_since = monotonic()
        self.shared.append(holder)
        return 0

    cdef int unshare(self, Holder holder) except -1:
        holder.shared = False
        self.shared.remove(holder)
        if holder.draining:
            holder.draining = False
            self.drains -= 1
        return 0

    cdef int drain(self, Holder holder) except -1:
        """Let a shared holder run empty for somebody who wants one for himself; None: the one with the least load."""
        cdef Holder other
        if holder is None:
            for other in self.shared:
                if not other.draining and (holder is None or other.load < holder.load):
                    holder = other
        if holder is not None and not holder.draining and self.drains < len(self.waiters):
            holder.draining = True
            self.drains += 1
        return 0

    cdef int serve(self, Holder holder) except -1:
        """Put on a shared holder as many of the calls that wait as fit."""
        cdef Request request
        cdef Statement about
        cdef bint began
        while self.pending and not holder.draining:
            request = self.pending[0]
            if request.waiter.done():
                self.pending.popleft()
                continue
            about = self.known(request.query)
            began = False
            if about is not None and self.is_quick(about):
                if not self.fits(holder, about):
                    return 0
                try:
                    began = self.begin_beside(holder, request, about)
                except BaseException as error:
                    refuse(request, error)
                    began = True
            self.pending.popleft()
            if not began:
                # It is slow by now, or this connection has not seen it: it gets one for itself.
                self.waiters.append(request)
                self.drain(holder)
        return 0

    cdef int done_beside(self, Holder holder, SharedCall call, bint odd) except -1:
        self.measure(holder, call)
        holder.inflight -= 1
        holder.load = holder.load - call.cost if holder.inflight else 0
        if odd:
            if not holder.draining:
                holder.draining = True
                self.drains += 1
        elif self.waiters and self.drains < len(self.waiters):
            self.drain(holder)
        if not holder.draining:
            self.serve(holder)
        if holder.inflight == 0:
            self.unshare(holder)
            if odd:
                self.give_back(holder)
            else:
                self.put(holder)
        return 0
