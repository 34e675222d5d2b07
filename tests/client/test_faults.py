# SPDX-License-Identifier: MIT
"""Servers that die or fall silent, at every byte: one clear exception, true to what happened, and never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

import fastpg
from fastpg import _shapes, exceptions
from tests import messages
from tests.fakeserver import STALL, FakeServer, packet
from tests.stepper import settle

LIMIT = 10  # seconds after which a call is a hang
PID = 4711
STARTUP = (
    messages.message("R", struct.pack("!i", 0))
    + messages.parameter_status("server_version", "16.1")
    + messages.parameter_status("client_encoding", "UTF8")
    + messages.message("K", struct.pack("!ii", PID, 99))
    + messages.ready()
)
ENDS = (b"S\0\0\0\4", b"X\0\0\0\4")


async def dialogue(c: fastpg.Connection, results: list[Any]) -> None:
    """What is recorded and played back: extended and simple queries, rows, a server error in between."""
    results.append(await c.fetch("SELECT g, 'row ' || g FROM generate_series(1, 3) g WHERE g < $1::int", 10))
    results.append(await c.execute("SELECT 'simple'"))
    try:
        await c.fetchval("SELECT 1 / $1::int", 0)
    except exceptions.DivisionByZeroError as error:
        results.append(error.fastpg)
    results.append(await c.fetchmany("SELECT $1::int8", [(1,), (2,)]))


def whole(data: bytes) -> bool:
    """Whether the client has said all it says before it wants an answer."""
    return data.endswith(ENDS) or (data[:1] == b"Q" and int.from_bytes(data[1:5], "big") + 1 == len(data))


class Player:
    """Plays recorded answers, one for each request; stops after `limit` bytes either way, and then does `fate`."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.fate = "fin"
        self.send_limit: int | None = None
        self.receive_limit: int | None = None
        self.received = 0
        self.cancels = 0
        self.server: asyncio.Server
        self.tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        return f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._play(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fate == "rst":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif self.fate == "fin":
            writer.close()
        else:
            while await reader.read(65536):  # silent, but it acknowledges
                pass

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        await reader.readexactly(length - 8)
        if code == 80877102:
            self.cancels += 1
            return
        left = self.send_limit
        allowed = self.receive_limit
        self.received = 0
        for answer in [STARTUP, *self.answers]:
            if left is not None and left < len(answer):
                writer.write(answer[:left])
                await writer.drain()
                await self._end(reader, writer)
                return
            if left is not None:
                left -= len(answer)
            writer.write(answer)
            request = b""
            while not whole(request):
                if allowed is not None and self.received >= allowed:
                    await self._end(reader, writer)
                    return
                want = 65536 if allowed is None else allowed - self.received
                data = await reader.read(want)
                if not data:
                    return
                request += data
                self.received += len(data)
            if request.endswith(ENDS[1]):
                return

    async def stop(self) -> None:
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=LIMIT)


async def record(dsn: str) -> tuple[list[bytes], list[Any], int]:
    """The answers of the real server to the dialogue's requests, its results, and the bytes of the requests."""
    parts = urlsplit(dsn)
    _shapes.clear()
    answers: list[bytearray] = []
    said = 0
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        up, to_server = await asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port or 5432)

        async def back() -> None:
            while data := await up.read(65536):
                if recording:
                    answers[-1] += data
                writer.write(data)
            writer.close()

        tasks.add(asyncio.ensure_future(back()))
        request = b""
        while data := await reader.read(65536):
            request += data
            if recording:
                said += len(data)
                if whole(request):
                    answers.append(bytearray())
                    request = b""
            to_server.write(data)
        to_server.close()

    recording = False
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await fastpg.connect(dsn, host="127.0.0.1", port=server.sockets[0].getsockname()[1], sslmode="disable")
    recording = True
    results: list[Any] = []
    await dialogue(connection, results)
    recording = False
    await connection.close()
    await asyncio.wait(tasks, timeout=LIMIT)
    server.close()
    return [bytes(answer) for answer in answers], results, said


@pytest_asyncio.fixture
async def recorded(dsn: str) -> tuple[list[bytes], list[Any], int]:
    return await asyncio.wait_for(record(dsn), LIMIT)


@pytest_asyncio.fixture
async def player(recorded: tuple[list[bytes], list[Any], int]) -> AsyncIterator[Player]:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    player = Player(recorded[0])
    yield player
    await player.stop()
    assert not complaints


def comparable(results: list[Any]) -> list[Any]:
    """The process ID differs between the real server and the player."""
    return [r._replace(backend_pid=0) if isinstance(r, exceptions.Outcome) else r for r in results]


async def cut(dsn: str, player: Player, results: list[Any]) -> None:
    """Run the dialogue against a server that dies on the way."""
    _shapes.clear()
    try:
        c = await asyncio.wait_for(fastpg.connect(dsn), LIMIT)
    except exceptions.ConnectionDoesNotExistError as error:
        told = error.fastpg  # type: ignore[attr-defined]
        assert (told.phase, told.bytes_sent, told.outcome) == ("connect", False, "not_sent")
        return
    try:
        with pytest.raises((exceptions.ConnectionDoesNotExistError, exceptions.InterfaceError)) as caught:
            await asyncio.wait_for(dialogue(c, results), LIMIT)
        outcome = caught.value.fastpg
        assert outcome is not None and outcome.phase == "query" and outcome.backend_pid == PID
        if outcome.bytes_sent:
            assert type(caught.value) is exceptions.ConnectionDoesNotExistError
            assert str(caught.value).startswith("connection was closed in the middle of operation")
            assert outcome.outcome == "unknown"
        else:
            assert outcome.outcome == "not_sent"
        assert c.is_closed()
        with pytest.raises(exceptions.InterfaceError, match="connection is closed") as closed:
            await c.execute("SELECT 1")
        assert closed.value.fastpg == ("query", False, "not_sent", PID)
        await asyncio.wait_for(c.close(), LIMIT)
    finally:
        c.terminate()


async def test_the_recording_plays(player: Player, recorded: tuple[list[bytes], list[Any], int]) -> None:
    dsn = await player.start()
    c = await fastpg.connect(dsn)
    results: list[Any] = []
    await dialogue(c, results)
    assert comparable(results) == comparable(recorded[1])
    assert results[2] == ("query", True, "failed", PID)
    await c.close()


@pytest.mark.parametrize("fate", ["fin", "rst"])
async def test_death_after_each_byte_from_the_server(
    player: Player, recorded: tuple[list[bytes], list[Any], int], fate: str
) -> None:
    before = asyncio.all_tasks()
    dsn = await player.start()
    player.fate = fate
    whole_length = len(STARTUP) + sum(map(len, recorded[0]))
    for limit in range(whole_length):
        player.send_limit = limit
        results: list[Any] = []
        await cut(dsn, player, results)
        # What was delivered before is right, and of the broken answer nothing was.
        assert comparable(results) == comparable(recorded[1])[: len(results)]
        arrived, full = len(STARTUP), 0
        for answer in recorded[0]:
            arrived += len(answer)
            full += arrived <= limit
        assert len(results) <= full
        # After a FIN all that came whole is delivered; a RST may overtake it. The first query has two answers.
        assert fate == "rst" or full < 2 or results
    await settle(before)


@pytest.mark.parametrize("fate", ["fin", "rst"])
async def test_death_after_each_byte_from_the_client(
    player: Player, recorded: tuple[list[bytes], list[Any], int], fate: str
) -> None:
    before = asyncio.all_tasks()
    dsn = await player.start()
    player.fate = fate
    for limit in range(recorded[2]):
        player.receive_limit = limit
        results: list[Any] = []
        await cut(dsn, player, results)
        assert comparable(results) == comparable(recorded[1])[: len(results)]
    await settle(before)


async def test_silence(player: Player, recorded: tuple[list[bytes], list[Any], int]) -> None:
    """A timeout ends the call, a deadline of its own the clean-up, and both say what is known."""
    before = asyncio.all_tasks()
    dsn = await player.start()
    player.fate = "stall"
    for limit in itertools.chain(range(0, len(STARTUP), 17), [len(STARTUP) - 1]):
        player.send_limit = limit
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(fastpg.connect(dsn, timeout=0.02), LIMIT)
        assert caught.value.fastpg.phase == "connect"  # type: ignore[attr-defined]
        assert caught.value.fastpg.outcome == "not_sent"  # type: ignore[attr-defined]
    for limit in range(len(STARTUP), len(STARTUP) + len(recorded[0][0]), 13):
        player.send_limit = limit
        player.cancels = 0
        c = await fastpg.connect(dsn)
        c._client.cancel_timeout = 0.1
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(c.fetch("SELECT $1::int", 1, timeout=0.02), LIMIT)
        assert caught.value.fastpg == ("query", True, "unknown", PID)  # type: ignore[attr-defined]
        # The next call waits for the cancel; that gives up after its own time.
        with pytest.raises(exceptions.InterfaceError, match="connection is closed") as closed:
            await asyncio.wait_for(c.fetch("SELECT 1"), LIMIT)
        assert closed.value.fastpg is not None and closed.value.fastpg.outcome == "not_sent"
        assert c.is_closed() and player.cancels == 1
    await settle(before)


async def test_waiting_for_a_cancel_has_the_calls_own_timeout(player: Player) -> None:
    dsn = await player.start()
    player.fate, player.send_limit = "stall", len(STARTUP)
    c = await fastpg.connect(dsn)
    for call in range(3):
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(c.fetch("SELECT 1", timeout=0.02), LIMIT)
        assert caught.value.fastpg.outcome == ("not_sent" if call else "unknown")  # type: ignore[attr-defined]
    assert not c.is_closed() and player.cancels == 1
    c.terminate()


@pytest.mark.parametrize("busy", [False, True])
async def test_close_ends_in_silence(player: Player, busy: bool) -> None:
    before = asyncio.all_tasks()
    dsn = await player.start()
    player.fate, player.send_limit = "stall", len(STARTUP)
    c = await fastpg.connect(dsn)
    query = asyncio.ensure_future(c.fetch("SELECT 1")) if busy else None
    await asyncio.sleep(0.01)
    await asyncio.wait_for(c.close(timeout=0.05), LIMIT)
    assert c.is_closed()
    if query is not None:
        with pytest.raises(exceptions.ConnectionDoesNotExistError) as caught:
            await asyncio.wait_for(query, LIMIT)
        assert caught.value.fastpg == ("query", True, "unknown", PID)
    await player.stop()
    await settle(before)


async def test_close_cancels_what_runs(dsn: str) -> None:
    c, other = await fastpg.connect(dsn), await fastpg.connect(dsn)
    query = asyncio.ensure_future(c.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(c.close(), LIMIT)
    with pytest.raises(exceptions.ConnectionDoesNotExistError, match=r"close\(\) was called"):
        await query
    for _ in range(200):
        if not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", c.get_server_pid()):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the backend goes on")
    await other.close()


async def test_terminated_while_querying(dsn: str) -> None:
    c, other = await fastpg.connect(dsn), await fastpg.connect(dsn)
    query = asyncio.ensure_future(c.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    await other.execute("SELECT pg_terminate_backend($1)", c.get_server_pid())
    with pytest.raises(exceptions.ConnectionDoesNotExistError, match="terminating connection") as caught:
        await asyncio.wait_for(query, LIMIT)
    assert isinstance(caught.value.__cause__, exceptions.AdminShutdownError)
    assert caught.value.fastpg == ("query", True, "unknown", c.get_server_pid())
    assert c.is_closed()
    await other.close()


async def test_terminated_while_idle(dsn: str) -> None:
    c, other = await fastpg.connect(dsn), await fastpg.connect(dsn)
    await other.execute("SELECT pg_terminate_backend($1)", c.get_server_pid())
    await asyncio.wait_for(asyncio.shield(c._client.closed), LIMIT)
    with pytest.raises(exceptions.InterfaceError, match="connection is closed") as caught:
        await c.fetch("SELECT 1")
    assert caught.value.fastpg is not None and caught.value.fastpg.outcome == "not_sent"
    await other.close()


async def test_errors_inside_a_batch(dsn: str) -> None:
    c = await fastpg.connect(dsn)
    pid = c.get_server_pid()
    await c.execute("CREATE TEMP TABLE t (a int PRIMARY KEY)")
    with pytest.raises(exceptions.UniqueViolationError) as caught:
        await c.executemany("INSERT INTO t VALUES ($1)", [(i % 500,) for i in range(1000)])
    assert caught.value.fastpg == ("query", True, "failed", pid)
    with pytest.raises(exceptions.DataError) as refused:
        await c.executemany("INSERT INTO t VALUES ($1)", [("x",)])
    assert refused.value.fastpg == ("query", False, "not_sent", pid)
    with pytest.raises(exceptions.DataError) as refused:
        await c.executemany("INSERT INTO t VALUES ($1)", [(i,) for i in range(90000)] + [("x",)])
    assert (refused.value.fastpg.bytes_sent, refused.value.fastpg.outcome) == (True, "failed")  # type: ignore[union-attr]
    assert await c.fetchval("SELECT count(*) FROM t") == 0
    with pytest.raises(exceptions.DataError) as refused:
        await c.fetchval("SELECT $1::int", "x")
    assert refused.value.fastpg == ("query", False, "not_sent", pid)
    with pytest.raises(exceptions.PostgresSyntaxError) as syntax:
        await c.execute("SELEKT")
    assert syntax.value.fastpg == ("query", True, "failed", pid)
    await c.close()


async def test_refused_connections(dsn: str) -> None:
    with pytest.raises(exceptions.InvalidCatalogNameError) as caught:
        await fastpg.connect(dsn, database="no such database")
    assert caught.value.fastpg is not None
    assert (caught.value.fastpg.phase, caught.value.fastpg.outcome) == ("connect", "failed")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError) as refused:
            await fastpg.connect(host="127.0.0.1", port=sock.getsockname()[1], user="u", database="d")
    assert refused.value.fastpg.outcome == "not_sent"  # type: ignore[attr-defined]


async def test_a_cancelled_call_tells(dsn: str) -> None:
    c = await fastpg.connect(dsn)
    query = asyncio.ensure_future(c.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    query.cancel()
    # asyncio may put a new CancelledError before the one that the coroutine raised.
    with pytest.raises(asyncio.CancelledError) as caught:
        await query
    errors: list[Any] = [caught.value, caught.value.__context__]
    assert ("query", True, "unknown", c.get_server_pid()) in [getattr(error, "fastpg", None) for error in errors]
    await c.close()


SILENT = ([packet(), messages.logged_in(), STALL], [STALL])  # and nobody answers a CancelRequest


async def test_close_does_not_wait_for_a_silent_cancel() -> None:
    before = asyncio.all_tasks()
    with FakeServer(*SILENT) as server:
        c = await fastpg.connect(server.dsn, sslmode="disable")
        c._client.cancel_timeout = 10 * LIMIT
        with pytest.raises(asyncio.TimeoutError):
            await c.execute("SELECT 1", timeout=0.01)
        late = asyncio.ensure_future(c.execute("SELECT 2"))
        await asyncio.sleep(0)
        await asyncio.wait_for(c.close(timeout=0.05), LIMIT)
        with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
            await asyncio.wait_for(late, LIMIT)
        asking = asyncio.all_tasks() - before
        assert len(asking) == 1, "the CancelRequest goes on"
        asking.pop().cancel()
        await settle(before)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_lost_rollback_does_not_hide_why(how: str) -> None:
    with FakeServer(*SILENT) as server:
        c = await fastpg.connect(server.dsn, sslmode="disable")
        c._client.cancel_timeout = 0.05

        async def work() -> None:
            async with c.transaction():
                await c.execute("SELECT 1", timeout=0.01 if how == "timeout" else None)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.01)
        if how == "cancel":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancel" else asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(task), LIMIT)
        assert c.is_closed()


class Full:
    """A transport that sends a part of what it is given, and has no memory for the rest."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.calls: list[int] = []

    def write(self, data: bytes) -> None:
        self.transport.write(data[:3])
        loop: Any = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop):  # its transports have done this by then
            loop._add_writer(self.transport.get_extra_info("socket").fileno(), self.calls.append, 1)  # type: ignore[attr-defined]
        raise MemoryError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


async def piped(c: fastpg.Connection) -> None:
    async with c.pipeline() as p:
        await p.fetchval("SELECT $1::int", 1)


WRITERS: dict[str, Callable[[fastpg.Connection], Awaitable[Any]]] = {
    "known": lambda c: c.fetchval("SELECT $1::int", 1),
    "new": lambda c: c.fetchval("SELECT $1::int, 2", 1, timeout=LIMIT),
    "script": lambda c: c.execute("SELECT 1; SELECT 2"),
    "many": lambda c: c.executemany("SELECT $1::int", [(1,), (2,)]),
    "copy": lambda c: c.copy_from_query("SELECT 1", output=lambda data: None),
    "pipeline": piped,
}


@pytest.mark.parametrize("name", WRITERS)
async def test_no_memory_to_write(dsn: str, name: str) -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    _shapes.clear()
    c = await fastpg.connect(dsn)
    assert await c.fetchval("SELECT $1::int", 1) == 1, "it has asked whom it is connected to, too"
    transport = Full(c._client.transport)
    c._client.connection_made(transport)
    with pytest.raises(exceptions.ConnectionDoesNotExistError, match="could not be written to: MemoryError") as caught:
        await asyncio.wait_for(WRITERS[name](c), LIMIT)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert caught.value.fastpg is not None and caught.value.fastpg.outcome == "unknown"
    assert c.is_closed()
    await asyncio.sleep(0)
    transport.calls.clear()
    # It may get the same file descriptor.
    c = await asyncio.wait_for(fastpg.connect(dsn), LIMIT)
    assert await c.fetchval("SELECT 1") == 1
    await c.close()
    assert not transport.calls
    del caught
    gc.collect()
    assert not reported


class Huge:
    """An argument that does not fit into memory."""

    def __index__(self) -> int:
        raise MemoryError


@pytest.mark.parametrize("call", ["fetchval", "executemany", "copy"])
async def test_no_memory_for_an_argument(dsn: str, call: str) -> None:
    c = await fastpg.connect(dsn)
    await c.execute("CREATE TEMP TABLE t (a int)")
    with pytest.raises(MemoryError):
        if call == "fetchval":
            await c.fetchval("SELECT $1::int", Huge())
        elif call == "executemany":
            await c.executemany("INSERT INTO t VALUES ($1)", [(1,), (Huge(),)])
        else:
            await c.copy_records_to_table("t", records=[(1,), (Huge(),)])
    assert await c.fetchval("SELECT count(*) FROM t") == 0
    await c.close()


if sys.platform == "linux":

    @contextlib.contextmanager
    def room(size: int) -> Iterator[None]:
        """No more than `size` bytes of memory beside what there is."""
        import resource

        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)

    @pytest.mark.parametrize("copy", [False, True])
    async def test_no_memory_for_an_answer(dsn: str, copy: bool) -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        c = await fastpg.connect(dsn)
        query = "SELECT repeat('x', $1::int)"
        assert await c.fetchval(query, 1) == "x"
        with pytest.raises(exceptions.ConnectionDoesNotExistError, match="no memory for a message") as caught:
            with room(2**25):
                if copy:
                    await c.copy_from_query(query, 2**27, output=lambda data: None, timeout=LIMIT)
                else:
                    await c.fetchval(query, 2**27, timeout=LIMIT)
        assert isinstance(caught.value.__cause__, MemoryError)
        assert c.is_closed()
        del caught
        gc.collect()
        assert not reported
