# SPDX-License-Identifier: MIT
"""COPY under way: back-pressure both ways, failing ends, deadlines, lost servers, others on the same connection."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions
from tests.server import AnyServer

LIMIT = 20  # seconds after which a call is a hang
MB = 1024 * 1024
ROW = b"1\t" + b"x" * 1021 + b"\n"  # 1 kB
LONG = "SELECT 1, repeat('x', 1021) FROM generate_series(1, {}) g"


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    await connection.execute("CREATE TEMP TABLE t (a int, b text)")
    yield connection
    connection.terminate()


@pytest_asyncio.fixture
async def monitor(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    yield connection
    connection.terminate()


async def usable(connection: fastpg.Connection, transaction: bool = False) -> bool:
    assert connection.is_in_transaction() is transaction
    return bool(await asyncio.wait_for(connection.fetchval("SELECT $1::int", 42), LIMIT) == 42)


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, LIMIT)


class Gate:
    """A sink, and a source of `size` bytes, that wait until they are let through; what they do is counted."""

    def __init__(self, size: int = 0) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        self.bytes = 0
        self.size = size
        self.seen: list[BaseException] = []

    async def write(self, data: bytes) -> None:
        self.bytes += len(data)
        await self.wait()

    async def wait(self) -> None:
        self.reached.set()
        try:
            await self.open.wait()
        except BaseException as error:
            self.seen.append(error)
            raise

    async def source(self, chunk: bytes = ROW * 64) -> AsyncIterator[bytes]:
        """Chunks at once, as far as they are taken."""
        while self.bytes < self.size:
            self.bytes += len(chunk)
            yield chunk

    async def stuck(self, *chunks: bytes) -> AsyncIterator[bytes]:
        """These chunks, and then nothing until it is let through."""
        for chunk in chunks:
            yield chunk
        await self.wait()


class Throttle:
    """A proxy before the server: counts what it passes on, and passes on nothing while `held`."""

    def __init__(self, server: AnyServer) -> None:
        self.target = server
        self.up = self.down = 0
        self.flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server
        for flow in self.flows.values():
            flow.set()

    async def __aenter__(self) -> Throttle:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    @property
    def dsn(self) -> str:
        url = urlsplit(self.target.dsn)
        port = self.server.sockets[0].getsockname()[1]
        user = url.netloc.rpartition("@")[0]
        return f"postgresql://{user + '@' if user else ''}127.0.0.1:{port}{url.path}?sslmode=disable"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self.target.host, self.target.port)
        self.writers += [writer, there_writer]
        await asyncio.gather(self._pass("up", reader, there_writer), self._pass("down", there_reader, writer))

    async def _pass(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                await self.flows[way].wait()
                setattr(self, way, getattr(self, way) + len(data))
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def stands_still(count: Callable[[], int]) -> int:
    """Wait until a number no longer grows; the number."""
    last = -1
    for _ in range(200):
        now = count()
        if now == last:
            return now
        last = now
        await asyncio.sleep(0.05)
    raise AssertionError("it never stands still")


async def turns_until(condition: Callable[[], Any]) -> None:
    """Let the loop turn until it is so."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never comes about")


# ---------------------------------------------------------------- back-pressure


async def test_a_slow_sink_stops_the_server(server: AnyServer) -> None:
    async with Throttle(server) as proxy:
        connection = await fastpg.connect(proxy.dsn)
        gate = Gate()
        task = asyncio.ensure_future(connection.copy_from_query(LONG.format(60_000), output=gate.write))
        await within(gate.reached.wait())
        # The rest is in the buffers of the sockets (the kernel's business), and on the server.
        assert await stands_still(lambda: proxy.down) < 20 * MB
        assert gate.bytes < 2 * MB
        gate.open.set()
        assert await within(task) == "COPY 60000"
        assert gate.bytes == 60_000 * 1024
        assert await usable(connection)
        connection.terminate()


async def test_a_slow_server_stops_the_source(server: AnyServer) -> None:
    async with Throttle(server) as proxy:
        connection = await fastpg.connect(proxy.dsn)
        await connection.execute("CREATE TEMP TABLE t (a int, b text)")
        proxy.flows["up"].clear()
        gate = Gate(60 * MB)
        task = asyncio.ensure_future(connection.copy_to_table("t", source=gate.source()))
        await asyncio.sleep(0)
        assert await stands_still(lambda: gate.bytes) == 0, "nothing is taken before the server asks for it"
        proxy.flows["up"].set()
        await turns_until(lambda: gate.bytes)
        proxy.flows["up"].clear()
        assert await stands_still(lambda: gate.bytes) < 25 * MB
        proxy.flows["up"].set()
        assert await within(task) == f"COPY {gate.bytes // 1024}"

        taken = 0

        def records() -> Iterator[tuple[int, str]]:
            nonlocal taken
            for taken in range(60_000):  # noqa: B007  # looked at from outside
                yield 1, "x" * 1000

        task = asyncio.ensure_future(connection.copy_records_to_table("t", records=records()))
        await turns_until(lambda: taken)
        proxy.flows["up"].clear()
        assert await stands_still(lambda: taken) < 25_000
        proxy.flows["up"].set()
        assert await within(task) == "COPY 60000"
        assert await usable(connection)
        connection.terminate()


async def test_memory_is_bounded(connection: fastpg.Connection, tmp_path: Path) -> None:
    async def records() -> AsyncIterator[tuple[int, str]]:
        for i in range(20_000):
            yield i, "x" * 1000

    await connection.execute("CREATE TEMP TABLE u (a int, b text)")
    calls: list[Callable[[], Any]] = [
        lambda: connection.copy_from_query(LONG.format(30_000), output=tmp_path / "rows"),
        lambda: connection.copy_to_table("u", source=tmp_path / "rows"),
        lambda: connection.copy_to_table("u", source=Gate(30 * MB).source()),
        lambda: connection.copy_records_to_table("u", records=((i, "x" * 1000) for i in range(30_000))),
        lambda: connection.copy_records_to_table("u", records=records()),
    ]
    for number, call in enumerate(calls):
        tracemalloc.start()
        try:
            await within(call())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 6 * MB, f"call {number} held {peak} bytes"
        await connection.execute("TRUNCATE u")


async def test_one_large_buffer(connection: fastpg.Connection) -> None:
    data = ROW * 40_000
    assert await within(connection.copy_to_table("t", source=data)) == "COPY 40000"

    async def source() -> AsyncIterator[bytes]:
        yield data

    assert await within(connection.copy_to_table("t", source=source())) == "COPY 40000"
    sink = io.BytesIO()
    assert await within(connection.copy_from_table("t", output=sink)) == "COPY 80000"
    assert sink.getvalue() == data * 2


@pytest.mark.parametrize("tls", [False, True])
async def test_chunks_of_all_sizes(server_with: Callable[..., AnyServer], tls: bool) -> None:
    server = server_with("tls") if tls else server_with()
    connection = await fastpg.connect(server.dsn, ssl="require" if tls else False)
    await connection.execute("CREATE TEMP TABLE t (a int, b text)")
    sizes = [1, 0, 16, 15, 511, 700, 3, 64, 64, 64, 512, 1]  # kB, or rows
    chunks = [b"".join(b"%d\t%s\n" % (number, b"x" * 1018) for _ in range(size))
              for number, size in enumerate(sizes)]  # fmt: skip
    chunks[3:3] = [chunks[4][:20_000], chunks[4][20_000:20_007], chunks[4][20_007:]]

    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
            if len(chunk) > 100_000:
                await asyncio.sleep(0.001)

    rows = sum(chunk.count(b"\n") for chunk in chunks)
    for data in (source(), io.BytesIO(b"".join(chunks)), b"".join(chunks)):
        assert await within(connection.copy_to_table("t", source=data)) == f"COPY {rows}"
        sink = io.BytesIO()
        assert await within(connection.copy_from_table("t", output=sink)) == f"COPY {rows}"
        assert sink.getvalue() == b"".join(chunks)
        await connection.execute("TRUNCATE t")
    connection.terminate()


async def test_others_get_their_turns(connection: fastpg.Connection, monitor: fastpg.Connection) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.ensure_future(other())
    for call in (
        connection.copy_to_table("t", source=Gate(20 * MB).source()),
        connection.copy_to_table("t", source=ROW * 20_000),
        connection.copy_records_to_table("t", records=((1, "x" * 1000) for _ in range(20_000))),
        connection.copy_from_query(LONG.format(20_000), output=lambda data: None),
    ):
        turns = 0
        await within(call)
        assert turns > 5
    task.cancel()


async def test_notices_while_data_is_sent(connection: fastpg.Connection) -> None:
    # The server writes more than its socket takes: it blocks unless we read while we send.
    await connection.execute(
        "CREATE FUNCTION pg_temp.shout() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE NOTICE '%', repeat('x', 5000); RETURN new; END $$;"
        "CREATE TRIGGER shout BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.shout()"
    )
    assert await within(connection.copy_to_table("t", source=Gate(5 * MB).source())) == "COPY 5120"
    assert await usable(connection)


# ------------------------------------------------------------------ failing ends


class MineError(Exception):
    pass


async def bad_sink(data: bytes) -> None:
    raise MineError("sink")


@pytest.mark.parametrize("rows", [1, 50_000])
async def test_a_sink_that_fails(connection: fastpg.Connection, rows: int) -> None:
    for _ in range(3):
        with pytest.raises(MineError, match="sink"):
            await within(connection.copy_from_query(LONG.format(rows), output=bad_sink))
        assert await usable(connection)
    with pytest.raises(MineError):
        async with connection.transaction():
            try:
                await within(connection.copy_from_query(LONG.format(rows), output=bad_sink))
            finally:
                # True at once, and not only after the next operation.
                assert connection.is_in_transaction()
                assert connection._client.cancelling is None
    assert await usable(connection)
    async with connection.transaction():
        with pytest.raises(MineError):
            async with connection.transaction():
                await within(connection.copy_from_query(LONG.format(rows), output=bad_sink))
        assert await usable(connection, transaction=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("rows", [1, 50_000])
async def test_a_full_disk(connection: fastpg.Connection, rows: int) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        await within(connection.copy_from_query(LONG.format(rows), output="/dev/full"))
    assert await usable(connection)


async def failing_source(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield ROW
    raise MineError("m" * 20_000)


@pytest.mark.parametrize("rows", [0, 1, 20_000])
async def test_a_source_that_fails(connection: fastpg.Connection, rows: int) -> None:
    with pytest.raises(MineError) as caught:
        await within(connection.copy_to_table("t", source=failing_source(rows)))
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, MineError)
    assert await usable(connection)
    with pytest.raises(MineError):
        async with connection.transaction():
            await within(connection.copy_to_table("t", source=failing_source(rows)))
    assert await usable(connection)

    class File:
        def read(self, n: int) -> bytes:
            raise MineError("read")

    with pytest.raises(MineError, match="read"):
        await within(connection.copy_to_table("t", source=File()))
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_file_that_stops_an_iteration(
    connection: fastpg.Connection, kind: type[Exception], is_async: bool
) -> None:
    class File:
        def read(self, size: int) -> bytes:
            raise kind

        write = read

    class AsyncFile:
        async def read(self, size: int) -> bytes:
            raise kind

        write = read

    file = AsyncFile() if is_async else File()
    with pytest.raises(RuntimeError, match=f"raised {kind.__name__}"):
        await within(connection.copy_to_table("t", source=file))
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    with pytest.raises(RuntimeError, match=f"raised {kind.__name__}"):
        await within(connection.copy_from_query("SELECT 1", output=file))
    assert await usable(connection)


async def test_a_source_that_stops_a_generator(connection: fastpg.Connection) -> None:
    class Stops:
        def __aiter__(self) -> Stops:
            return self

        async def __anext__(self) -> bytes:
            raise StopIteration

    with pytest.raises(RuntimeError):
        await within(connection.copy_to_table("t", source=Stops()))
    assert await usable(connection)


async def test_an_error_of_the_server_interrupts_the_source(connection: fastpg.Connection) -> None:
    for _ in range(2):
        gate = Gate()
        with pytest.raises(exceptions.InvalidTextRepresentationError, match="invalid input syntax"):
            await within(connection.copy_to_table("t", source=gate.stuck(b"no number\tx\n")))
        assert [type(error) for error in gate.seen] == [asyncio.CancelledError]
        task: Any = asyncio.current_task()
        assert not hasattr(task, "cancelling") or task.cancelling() == 0
        assert await usable(connection)
    gate = Gate()

    async def records() -> AsyncIterator[tuple[int, str]]:
        for _ in range(3000):
            yield 1, "x" * 1000
        await gate.wait()

    await connection.execute("CREATE TEMP TABLE u (a int UNIQUE, b text)")
    with pytest.raises(exceptions.UniqueViolationError):
        await within(connection.copy_records_to_table("u", records=records()))
    assert len(gate.seen) == int(gate.reached.is_set())  # the error may have come before
    assert await usable(connection)


async def test_a_source_that_swallows_the_interruption(connection: fastpg.Connection) -> None:
    async def stubborn(last: BaseException | None) -> AsyncIterator[bytes]:
        yield b"no number\tx\n"
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            if last is not None:
                raise last from None
        yield b"more\n"

    for last in (None, MineError()):
        with pytest.raises(exceptions.InvalidTextRepresentationError):
            await within(connection.copy_to_table("t", source=stubborn(last)))
        task: Any = asyncio.current_task()
        assert not hasattr(task, "cancelling") or task.cancelling() == 0
        assert await usable(connection)


async def test_an_error_of_the_server_stops_the_sending(connection: fastpg.Connection) -> None:
    gate = Gate(200 * MB)
    with pytest.raises(exceptions.InvalidTextRepresentationError):
        await within(connection.copy_to_table("t", source=gate.source(b"nonsense\tx\n" * 1000)))
    assert gate.bytes < 50 * MB
    assert await usable(connection)


async def test_an_error_of_the_server_while_rows_come(connection: fastpg.Connection) -> None:
    chunks: list[bytes] = []
    query = "SELECT 1 / (50000 - g), repeat('x', 100) FROM generate_series(1, 60000) g"
    with pytest.raises(exceptions.DivisionByZeroError):
        await within(connection.copy_from_query(query, output=chunks.append))
    assert b"".join(chunks).count(b"\n") > 40_000
    assert await usable(connection)


# --------------------------------------------------------------------- deadlines


async def expires(connection: fastpg.Connection, awaitable: Any) -> None:
    with pytest.raises(asyncio.TimeoutError) as caught:
        await within(awaitable)
    assert getattr(caught.value, "fastpg", None) is not None, "not ours: the call hangs"
    task: Any = asyncio.current_task()
    assert not hasattr(task, "cancelling") or task.cancelling() == 0
    await within(connection.execute(""))
    assert await usable(connection)


async def test_timeouts(connection: fastpg.Connection, monitor: fastpg.Connection, tmp_path: Path) -> None:
    gate = Gate()

    class File:
        async def read(self, n: int) -> bytes:
            await gate.wait()
            return b""

    async def records() -> AsyncIterator[tuple[int, str]]:
        await gate.wait()
        yield 1, ""

    await expires(connection, connection.copy_to_table("t", source=gate.stuck(), timeout=0.05))
    await expires(connection, connection.copy_to_table("t", source=gate.stuck(ROW), timeout=0.05))
    await expires(connection, connection.copy_to_table("t", source=File(), timeout=0.05))
    await expires(connection, connection.copy_records_to_table("t", records=records(), timeout=0.05))
    await expires(connection, connection.copy_from_query("SELECT 1", output=gate.write, timeout=0.05))
    await expires(connection, connection.copy_from_query(LONG.format(50_000), output=gate.write, timeout=0.05))
    await expires(connection, connection.copy_from_query("SELECT pg_sleep(60)", output=gate.write, timeout=0.05))
    await expires(connection, connection.copy_from_query("SELECT pg_sleep($1)", 60, output=gate.write, timeout=0.05))
    for timeout in (0, -1):
        await expires(connection, connection.copy_to_table("t", source=ROW, timeout=timeout))
    # All of a call counts, with what it does before the COPY.
    await monitor.execute("DROP TABLE IF EXISTS locked; CREATE TABLE locked (a int, b text)")
    async with monitor.transaction():
        await monitor.execute("LOCK TABLE locked")
        await expires(connection, connection.copy_records_to_table("locked", records=[(1, "")], timeout=0.05))
        await expires(connection, connection.copy_to_table("locked", source=ROW, timeout=0.05))
        await expires(connection, connection.copy_from_table("locked", output=gate.write, timeout=0.05))
    await monitor.execute("DROP TABLE locked")
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    # Time enough.
    assert await connection.copy_to_table("t", source=ROW, timeout=60) == "COPY 1"
    assert await connection.copy_to_table("t", source=Gate(MB).source(), timeout=60) == "COPY 1024"
    assert await connection.copy_from_table("t", output=tmp_path / "out", timeout=60) == "COPY 1025"


async def test_command_timeout(dsn: str) -> None:
    connection = await fastpg.connect(dsn, command_timeout=0.05)
    gate = Gate()
    with pytest.raises(asyncio.TimeoutError):
        await within(connection.copy_from_query("SELECT 1", output=gate.write))
    assert await connection.copy_from_query("SELECT 1", output=lambda data: None, timeout=60) == "COPY 1"
    connection.terminate()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
async def test_a_named_pipe(connection: fastpg.Connection, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(asyncio.TimeoutError):
        await connection.copy_to_table("t", source=path, timeout=0.05)  # nobody opens its other end
    assert await usable(connection)
    path.open("wb", buffering=0).close()  # lets the thread go that has opened it
    path = tmp_path / "another"  # the thread may still have the first one
    os.mkfifo(path)
    writing = asyncio.get_running_loop().run_in_executor(None, path.write_bytes, ROW * 1000)
    assert await within(connection.copy_to_table("t", source=path)) == "COPY 1000"
    await writing


# -------------------------------------------------- others on the same connection


async def test_one_at_a_time(connection: fastpg.Connection) -> None:
    gate = Gate()
    copies = [
        lambda: connection.copy_to_table("t", source=gate.stuck(ROW)),
        lambda: connection.copy_from_query(LONG.format(50_000), output=gate.write),
    ]
    for copy in copies:
        gate.reached.clear()
        gate.open.clear()
        task = asyncio.ensure_future(copy())
        await within(gate.reached.wait())
        for other in (
            connection.execute("SELECT 1"),
            connection.fetchval("SELECT 1"),
            connection.copy_to_table("t", source=b""),
            connection.copy_records_to_table("t", records=[]),
            connection.copy_from_table("t", output=gate.write),
        ):
            with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
                await within(other)
        gate.open.set()
        assert (await within(task)).startswith("COPY ")
        assert await usable(connection)


async def test_a_source_that_uses_its_own_connection(connection: fastpg.Connection) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield ROW
        await connection.execute("SELECT 1")

    async def sink(data: bytes) -> None:
        await connection.execute("SELECT 1")

    with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
        await within(connection.copy_to_table("t", source=source()))
    assert await usable(connection)
    for rows in (1, 50_000):
        with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
            await within(connection.copy_from_query(LONG.format(rows), output=sink))
        assert await usable(connection)
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_the_source_runs_in_the_task_of_the_caller(connection: fastpg.Connection) -> None:
    seen = []

    async def source() -> AsyncIterator[bytes]:
        seen.append(asyncio.current_task())
        yield ROW

    async def sink(data: bytes) -> None:
        seen.append(asyncio.current_task())

    await connection.copy_to_table("t", source=source(), timeout=60)
    await connection.copy_from_table("t", output=sink, timeout=60)
    assert seen == [asyncio.current_task()] * 2


async def test_records_are_made_in_the_context_of_the_caller(connection: fastpg.Connection) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="somebody else's")
    seen = set()

    def records() -> Iterator[tuple[int, str]]:
        for _ in range(5000):
            seen.add(variable.get())
            yield 1, "x" * 1000

    variable.set("the caller's")
    await connection.copy_records_to_table("t", records=records())
    assert seen == {"the caller's"}


async def test_an_encoder_that_raises_stop_iteration(connection: fastpg.Connection) -> None:
    class Index:
        def __index__(self) -> int:
            raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await within(connection.copy_records_to_table("t", records=[(Index(), "")]))
    assert await usable(connection)


# -------------------------------------------------------------------------- ends


async def test_a_coroutine_that_is_closed(connection: fastpg.Connection, tmp_path: Path) -> None:
    """Closed at each of its suspensions, when nothing can be awaited any more."""
    path = tmp_path / "rows"
    calls: list[Callable[[], Any]] = [
        lambda: connection.copy_from_query(LONG.format(700), output=path),
        lambda: connection.copy_to_table("t", source=path),
        lambda: connection.copy_to_table("t", source=Gate(MB).source()),
        lambda: connection.copy_records_to_table("t", records=[(1, "x" * 1000)] * 700, timeout=60),
    ]
    path.write_bytes(ROW)
    for call in calls:
        for last in range(1000):
            coroutine = call()
            try:
                for _ in range(last + 1):
                    awaited = coroutine.send(None)
                    if awaited is not None:
                        awaited._asyncio_future_blocking = False  # what a Task does with what it is given
                        await within(asyncio.wait([awaited]))
                    await asyncio.sleep(0)
            except StopIteration:
                break
            coroutine.close()
            assert await within(connection.execute("")) == ""
            assert await usable(connection)
        assert last > 1


@pytest.mark.parametrize("how", ["backend", "close", "terminate"])
async def test_the_connection_ends_in_the_middle(dsn: str, monitor: fastpg.Connection, how: str) -> None:
    gate = Gate()
    copies: list[Callable[[Any], Any]] = [
        lambda c: c.copy_to_table("t", source=gate.stuck(ROW)),
        lambda c: c.copy_from_query(LONG.format(50_000), output=gate.write),
        lambda c: c.copy_from_query("SELECT pg_sleep(60)", output=gate.write),
    ]
    for number, copy in enumerate(copies):
        gate.reached.clear()
        gate.open.clear()
        connection = await fastpg.connect(dsn)
        await connection.execute("CREATE TEMP TABLE t (a int, b text)")
        task = asyncio.ensure_future(copy(connection))
        if number < 2:
            await within(gate.reached.wait())
        else:
            await asyncio.sleep(0.05)
        if how == "backend":
            await monitor.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        elif how == "close":
            await within(connection.close())
        else:
            connection.terminate()
        gate.open.set() if number == 1 else None
        with pytest.raises((exceptions.ConnectionDoesNotExistError, exceptions.AdminShutdownError)) as caught:
            await within(task)
        assert caught.value.fastpg is not None
        assert connection.is_closed()
        with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
            await connection.copy_to_table("t", source=b"")
        # The server does not look for its client while it sleeps.
        await monitor.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())


async def test_the_link_breaks_in_the_middle(server: AnyServer) -> None:
    async with Throttle(server) as proxy:
        for number in range(2):
            connection = await fastpg.connect(proxy.dsn)
            await connection.execute("CREATE TEMP TABLE t (a int, b text)")
            gate = Gate(100 * MB)
            if number == 0:
                task = asyncio.ensure_future(connection.copy_to_table("t", source=gate.source()))
                await turns_until(lambda: gate.bytes > 2 * MB)  # noqa: B023
            else:
                task = asyncio.ensure_future(connection.copy_from_query(LONG.format(50_000), output=gate.write))
                await within(gate.reached.wait())
            for writer in proxy.writers:
                writer.transport.abort()
            gate.open.set()
            with pytest.raises(exceptions.ConnectionDoesNotExistError):
                await within(task)
            assert connection.is_closed()


async def test_a_cancelled_copy_in_a_pool(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        for _ in range(3):
            gate = Gate()
            for call in (
                pool.copy_from_query(LONG.format(50_000), output=gate.write),
                pool.copy_from_query("SELECT pg_sleep(60)", output=gate.write),
            ):
                task = asyncio.ensure_future(call)
                await asyncio.sleep(0.02)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await within(task)
                assert await within(pool.fetchval("SELECT 7")) == 7
