# SPDX-License-Identifier: MIT
# A Reply is to a statement of a pipeline what a Future is to a task: awaited, gathered, waited for, cancelled like one.
# It costs a third of a Future, since it asks nothing of the loop before somebody really awaits it; and a failure that
# nobody looks at is the pipeline's to raise, not the garbage collector's to print. May import: asyncio.

from asyncio import CancelledError, InvalidStateError
from contextvars import copy_context
from types import GenericAlias


cdef class Reply:
    """The result of one statement of a pipeline, in the time to come. Everything asyncio does with Futures works.

    result() and exception() raise InvalidStateError before it is there, CancelledError when it was cancelled. cancel()
    gives up the result: the statement runs all the same, and its answer is thrown away.
    """

    def done(self) -> bool:
        """It has a result or an exception, or was cancelled."""
        return self.state != REPLY_PENDING

    def cancelled(self) -> bool:
        """It was cancelled."""
        return self.state == REPLY_CANCELLED

    def result(self):
        """The result, or raise the statement's exception."""
        if self.state == REPLY_RESULT:
            return self.outcome
        if self.state == REPLY_ERROR:
            self.looked = True
            raise self.outcome
        if self.state == REPLY_CANCELLED:
            raise self._make_cancelled_error()
        raise InvalidStateError("Result is not set.")

    def exception(self):
        """The statement's exception, or None."""
        if self.state == REPLY_ERROR:
            self.looked = True
            return self.outcome
        if self.state == REPLY_RESULT:
            return None
        if self.state == REPLY_CANCELLED:
            raise self._make_cancelled_error()
        raise InvalidStateError("Exception is not set.")

    def cancel(self, msg=None) -> bool:
        """Give it up; False when it is there already."""
        if self.state != REPLY_PENDING:
            return False
        self._cancel_message = msg
        self.settle(REPLY_CANCELLED, None)
        return True

    def _make_cancelled_error(self):
        # gather() calls it.
        return CancelledError() if self._cancel_message is None else CancelledError(self._cancel_message)

    def get_loop(self):
        """The event loop of its connection."""
        return self.loop

    def add_done_callback(self, function, *, context=None) -> None:
        """Have the loop call function(self) once it is done."""
        if context is None:
            context = copy_context()
        if self.state != REPLY_PENDING:
            self.loop.call_soon(function, self, context=context)
        elif self.callbacks is None:
            self.callbacks = [(function, context)]
        else:
            self.callbacks.append((function, context))

    def remove_done_callback(self, function) -> int:
        """Take a callback back; how often it was there."""
        if self.callbacks is None:
            return 0
        kept = [entry for entry in self.callbacks if entry[0] != function]
        removed = len(self.callbacks) - len(kept)
        self.callbacks = kept or None
        return removed

    def set_result(self, result) -> None:
        """For the pipeline."""
        if self.state != REPLY_PENDING:
            raise InvalidStateError("the reply is done")
        self.settle(REPLY_RESULT, result)

    def set_exception(self, error) -> None:
        """For the pipeline."""
        if self.state != REPLY_PENDING:
            raise InvalidStateError("the reply is done")
        self.settle(REPLY_ERROR, error)

    def __await__(self):
        if self.state == REPLY_PENDING:
            waiter = self.loop.create_future()
            if self.waiters is None:
                self.waiters = waiter
            elif type(self.waiters) is list:
                self.waiters.append(waiter)
            else:
                self.waiters = [self.waiters, waiter]
            yield from waiter
        return self.result()

    __iter__ = __await__

    def __class_getitem__(cls, item):
        """Reply[Row] in annotations, which may be evaluated."""
        return GenericAlias(cls, item)

    def __repr__(self):
        if self.state == REPLY_RESULT:
            state = f"finished result={self.outcome!r}"
        elif self.state == REPLY_ERROR:
            state = f"finished exception={self.outcome!r}"
        else:
            state = "cancelled" if self.state == REPLY_CANCELLED else "pending"
        return f"<Reply {state}>"

    cdef int settle(self, int state, object outcome) except -1:
        self.state = state
        self.outcome = outcome
        if self.waiters is not None:
            waiters, self.waiters = self.waiters, None
            for waiter in waiters if type(waiters) is list else (waiters,):
                if not waiter.done():
                    waiter.set_result(None)
        if self.callbacks is not None:
            callbacks, self.callbacks = self.callbacks, None
            for function, context in callbacks:
                self.loop.call_soon(function, self, context=context)
        return 0
