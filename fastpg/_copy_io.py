# SPDX-License-Identifier: MIT
"""What COPY reads from and writes to: paths, file objects, async iterables, buffers, callables."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

READ_SIZE = 256 * 1024  # bytes a read


async def open_file(path: Any, mode: str) -> Any:
    """Open a file off the loop; closed again when nobody waits for it any more."""
    opening = asyncio.get_running_loop().run_in_executor(None, partial(open, path, mode))
    try:
        return await asyncio.shield(opening)
    except (asyncio.CancelledError, GeneratorExit):
        opening.add_done_callback(close_opened)
        raise


def close_opened(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class File:
    """A file object whose read() and write() run in the loop's executor, or are coroutine functions.

    owned: opened by us, and to be closed.
    """

    def __init__(self, file: Any, method: str, owned: bool) -> None:
        self.file = file
        self.owned = owned
        self.method = getattr(file, method)
        self.is_async = inspect.iscoroutinefunction(self.method)
        self.loop = asyncio.get_running_loop()
        self.call: asyncio.Future[Any] | None = None

    async def run(self, argument: Any) -> Any:
        if self.is_async:
            try:
                return await self.method(argument)
            except StopAsyncIteration as error:
                raise no_end(error) from error
        self.call = self.loop.run_in_executor(None, in_thread, self.method, argument)
        # A thread cannot be interrupted: what it does goes on, close() comes after it.
        return await asyncio.shield(self.call)

    async def close(self, failed: bool) -> None:
        """Close what is ours. failed: another error is on its way, this one's are of no interest."""
        closing = self.discard()
        if closing is not None:
            try:
                await asyncio.shield(closing)
            except Exception:
                if not failed:
                    raise

    def discard(self) -> asyncio.Future[Any] | None:
        """Close what is ours, now or after the call under way; a Future when it is now."""
        call, self.call = self.call, None
        if call is not None and not call.done():
            call.add_done_callback(self._close_late)
            return None
        if not self.owned:
            return None
        closing = self.loop.run_in_executor(None, self.file.close)
        closing.add_done_callback(forget)
        return closing

    def _close_late(self, call: asyncio.Future[Any]) -> None:
        forget(call)
        if self.owned and not self.loop.is_closed():
            self.loop.run_in_executor(None, self.file.close).add_done_callback(forget)


def in_thread(method: Callable[[Any], Any], argument: Any) -> Any:
    """Call it; StopIteration would never get out of a Future."""
    try:
        return method(argument)
    except (StopIteration, StopAsyncIteration) as error:
        raise no_end(error) from error


def no_end(error: Exception) -> RuntimeError:
    """In the place of what would be taken for the orderly end of an iteration."""
    return RuntimeError(f"the file of a COPY raised {type(error).__name__}")


def forget(future: asyncio.Future[Any]) -> None:
    """Retrieve an exception that somebody has got already, or that nobody waits for."""
    if not future.cancelled():
        future.exception()


class Reader(File):
    """Chunks of a file: an asynchronous iterator."""

    def __init__(self, file: Any, owned: bool = False) -> None:
        super().__init__(file, "read", owned)

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Any:
        chunk = await self.run(READ_SIZE)
        if isinstance(chunk, (str, int)) or chunk is None:
            raise TypeError(
                f"source.read() is expected to return bytes, not {type(chunk).__name__}: open the file in binary mode"
            )
        if not chunk:
            raise StopAsyncIteration
        return chunk


class Writer(File):
    """Writes chunks to a file."""

    def __init__(self, file: Any, owned: bool = False) -> None:
        super().__init__(file, "write", owned)
        self.raw = isinstance(file, io.RawIOBase)

    async def __call__(self, data: bytes) -> None:
        written = await self.run(data)
        while self.raw and isinstance(written, int) and written < len(data):
            # What has no buffer may write a part.
            data = data[written:]
            written = await self.run(data)


class Callback:
    """Hands chunks to a callable; what it returns is awaited if it can be."""

    def __init__(self, function: Callable[[bytes], Any]) -> None:
        self.function = function

    async def __call__(self, data: bytes) -> None:
        result = self.function(data)
        if inspect.isawaitable(result):
            await result

    async def close(self, failed: bool) -> None:
        """Nothing of it is ours."""

    def discard(self) -> None:
        """Nothing of it is ours."""


class Closing:
    """Closes this end of a COPY after it, when it is ours; errors of that count only when there are no others."""

    def __init__(self, end: Any, ours: bool = True) -> None:
        self.end = end
        self.ours = ours

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not self.ours:
            return
        if kind is GeneratorExit:
            self.end.discard()  # nothing can be awaited any more
        else:
            await self.end.close(failed=kind is not None)


async def open_output(output: Any) -> Writer | Callback:
    """What a COPY writes to, from what the caller gave."""
    if isinstance(output, (str, bytes, os.PathLike)):
        return Writer(await open_file(output, "wb"), owned=True)
    if hasattr(output, "write"):
        return Writer(output)
    if callable(output):
        return Callback(output)
    raise TypeError(
        "output is expected to be a file-like object, a path-like object or a coroutine function, "
        f"not {type(output).__name__}"
    )


async def open_source(source: Any) -> Any:
    """An asynchronous iterator of chunks, or a plain iterator of them when they are all there."""
    if isinstance(source, (str, os.PathLike)):
        return Reader(await open_file(source, "rb"), owned=True)
    if hasattr(source, "read"):
        return Reader(source)
    if hasattr(source, "__aiter__"):
        return source
    try:
        view = memoryview(source)
    except TypeError:
        raise TypeError(
            "source is expected to be a file-like object, a path-like object, an asynchronous iterable of bytes or "
            f"a bytes-like object, not {type(source).__name__}"
        ) from None
    return pieces(view.cast("B") if view.c_contiguous else memoryview(view.tobytes()))


def pieces(view: memoryview) -> Iterator[memoryview]:
    """A buffer in parts that bound what is copied at a time."""
    for at in range(0, len(view), READ_SIZE):
        yield view[at : at + READ_SIZE]
