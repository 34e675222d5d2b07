# SPDX-License-Identifier: MIT
"""Pipelines: order, whose error it is, what is left behind; with a Sync each, and with one for all."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions
from tests import messages
from tests.fakeserver import STALL, FakeServer, message, packet
from tests.wiretap import wiretap

both = pytest.mark.parametrize("atomic", [False, True], ids=["each", "atomic"])
LIMIT = 30  # seconds that nothing here should take


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    yield connection
    await asyncio.wait_for(connection.close(), LIMIT)


@pytest.fixture(autouse=True)
def complaints() -> Any:
    """Nothing is reported to the loop: no exception that was never retrieved."""
    said: list[Any] = []
    yield said
    gc.collect()
    assert not said


def listen(said: list[Any]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))


async def outcome(waiter: Any) -> Any:
    try:
        return await asyncio.wait_for(waiter, LIMIT)
    except Exception as error:
        return error


# --------------------------------------------------------------------------- results


@both
@pytest.mark.parametrize("known", [False, True])
async def test_the_methods_of_a_connection(connection: fastpg.Connection, atomic: bool, known: bool) -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("fetchval", ("SELECT $1::int + 1", 1), {}),
        ("fetchval", ("SELECT 1, 'b'",), {"column": 1}),
        ("fetch", ("SELECT g, 'x' || g AS t FROM generate_series(1, $1::int) g", 1000), {}),
        ("fetchrow", ("SELECT g FROM generate_series(5, 9) g",), {}),
        ("fetchrow", ("SELECT 1 WHERE false",), {}),
        ("fetchval", ("SELECT 1 WHERE false",), {}),
        ("fetch", ("SELECT 1 WHERE false",), {}),
        ("execute", ("SELECT $1::text", "a"), {}),
        ("execute", ("SELECT 1",), {}),
        ("execute", ("",), {}),
        ("fetch", ("",), {}),
        ("executemany", ("SELECT $1::int", [(1,), [2]]), {}),
        ("executemany", ("SELECT $1::int", []), {}),
        ("fetchmany", ("SELECT $1::int AS a", ((i,) for i in range(3))), {}),
        ("fetchmany", ("SELECT $1::int AS a", []), {}),
        ("fetchval", ("SELECT $1::int + 1", 2), {}),
    ]
    calls = [(name, (args[0], list(args[1])) if "many" in name else args, given) for name, args, given in calls]
    expected = [await getattr(connection, name)(*args, **given) for name, args, given in calls]
    if not known:
        connection._cache.clear()
    for _ in range(2):
        async with connection.pipeline(atomic=atomic) as p:
            results = [getattr(p, name)(*args, **given) for name, args, given in calls]
        assert [await result for result in results] == expected
        assert all(result.done() and asyncio.isfuture(result) for result in results)
    assert not connection.is_in_transaction()


@both
async def test_awaiting_inside_the_block(connection: fastpg.Connection, atomic: bool) -> None:
    async with connection.pipeline(atomic=atomic) as p:
        total = 0
        for i in range(5):
            first = p.fetchval("SELECT $1::int", i)
            second = p.fetchval("SELECT $1::int + 100", i)
            total += await asyncio.wait_for(second, LIMIT)
            assert first.done() and await first == i
        assert await asyncio.gather(p.fetchval("SELECT 1"), p.fetchval("SELECT 2")) == [1, 2]
    assert total == 510


@both
async def test_order_and_statements_that_depend_on_each_other(connection: fastpg.Connection, atomic: bool) -> None:
    async with connection.pipeline(atomic=atomic) as p:
        p.execute("CREATE TEMP TABLE made (i int, t text)")
        p.execute("INSERT INTO made VALUES ($1, $2)", 1, "a")
        p.executemany("INSERT INTO made VALUES ($1, $2)", [(i, str(i)) for i in range(2, 100)])
        count = p.fetchval("SELECT count(*) FROM made")
        p.execute("ALTER TABLE made ADD COLUMN n int")
        wider = p.fetchrow("SELECT * FROM made WHERE i = 5")
    assert await count == 99 and tuple(await wider) == (5, "5", None)


async def test_many_tasks_use_one_pipeline(connection: fastpg.Connection) -> None:
    async with connection.pipeline() as p:

        async def work(n: int) -> int:
            assert await p.fetchval("SELECT $1::int", n) == n
            return int(await p.fetchval(f"SELECT $1::int * 2 /* {n % 7} */", n))

        results = await asyncio.wait_for(asyncio.gather(*[work(i) for i in range(200)]), LIMIT)
    assert results == [i * 2 for i in range(200)]


@both
async def test_more_than_buffers_hold(connection: fastpg.Connection, atomic: bool) -> None:
    text = "x" * 30_000

    async def run() -> None:
        async with connection.pipeline(atomic=atomic) as p:
            sizes = [p.fetchval("SELECT length($1::text || $1::text)", text) for _ in range(300)]
            echoes = [p.fetchval("SELECT $1::text", text + str(i)) for i in range(300)]
            many = p.fetchmany("SELECT $1::text", [(text + str(i),) for i in range(300)])
        assert {await size for size in sizes} == {60_000}
        assert [await echo for echo in echoes] == [row[0] for row in await many]

    await asyncio.wait_for(run(), LIMIT)


async def test_writes_and_syncs(dsn: str) -> None:
    async with wiretap(dsn) as (tap, watched):
        connection = await fastpg.connect(watched)
        await connection.fetchval("SELECT $1::int", 0)
        tap.clear()
        async with connection.pipeline() as p:
            for i in range(50):
                p.fetchval("SELECT $1::int", i)
        assert tap.messages() == "BES" * 50 and tap.round_trips == 1
        tap.clear()
        async with connection.pipeline(atomic=True) as p:
            for i in range(50):
                p.fetchval("SELECT $1::int", i)
        assert tap.messages() == "BE" * 50 + "S" and tap.round_trips == 1
        tap.clear()
        async with connection.pipeline() as p:
            for i in range(10):
                p.fetchval(f"SELECT $1::int + {i}", i)
        # All are described before the first is executed.
        assert tap.messages() == "PDS" * 10 + "BES" * 10
        tap.clear()
        async with connection.pipeline(atomic=True) as p:
            pass
        async with connection.pipeline() as p:
            pass
        assert tap.messages() == ""
        await connection.close()


async def test_without_a_statement_cache(dsn: str) -> None:
    connection = await fastpg.connect(dsn, statement_cache_size=0)
    for atomic in (False, True):
        async with connection.pipeline(atomic=atomic) as p:
            results = [p.fetchval(f"SELECT $1::int + {i % 3}", i) for i in range(9)]
        assert [await result for result in results] == [i + i % 3 for i in range(9)]
    await connection.execute("SELECT 1")
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    await connection.close()


@both
async def test_records_of_types_that_are_not_known_yet(connection: fastpg.Connection, atomic: bool) -> None:
    await connection.execute("DROP TYPE IF EXISTS piped_color; CREATE TYPE piped_color AS ENUM ('red', 'blue')")
    async with connection.pipeline(atomic=atomic) as p:
        row = p.fetchrow("SELECT row('red'::piped_color, 1)")
        rows = p.fetch("SELECT row('blue'::piped_color, 2)")
        value = p.fetchval("SELECT row(row('blue'::piped_color), 3)")
        plain = p.fetchval("SELECT $1::piped_color", "red")
    assert tuple((await row)[0]) == ("red", 1) and [tuple(r[0]) for r in await rows] == [("blue", 2)]
    assert await value == (("blue",), 3) and await plain == "red"
    await connection.execute("DROP TYPE piped_color")


# ---------------------------------------------------------------------------- errors


async def test_an_error_is_that_of_one_statement(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    async with connection.pipeline() as p:
        results = [p.fetchval("SELECT 10 / $1::int", n) for n in (1, 0, 2, 0, 5)]
        bad = p.fetchval("SELECT 10 / $1::int", "x")
        no_table = p.fetchval("SELECT * FROM no_such_table")
        late = p.fetchval("SELECT 10 / $1::int", 10)
        got = [await outcome(result) for result in [*results, bad, no_table, late]]
    assert [got[i] for i in (0, 2, 4, 7)] == [10, 5, 2, 1]
    assert isinstance(got[1], exceptions.DivisionByZeroError) and isinstance(got[3], exceptions.DivisionByZeroError)
    assert isinstance(got[5], exceptions.DataError) and got[5].fastpg.outcome == "not_sent"
    assert isinstance(got[6], exceptions.UndefinedTableError)
    assert got[1].query == "SELECT 10 / $1::int" and got[1].fastpg.outcome == "failed"


@both
async def test_the_first_failure_that_nobody_awaited_is_raised(
    connection: fastpg.Connection, complaints: list[Any], atomic: bool
) -> None:
    listen(complaints)
    with pytest.raises(exceptions.DivisionByZeroError):
        async with connection.pipeline(atomic=atomic) as p:
            p.fetchval("SELECT 1")
            p.fetchval("SELECT 1 / 0")
            p.fetchval("SELECT 'x'::text::int")
    with pytest.raises(exceptions.InvalidTextRepresentationError):
        async with connection.pipeline() as p:
            awaited = p.fetchval("SELECT 1 / 0")
            p.fetchval("SELECT 'x'::text::int")
            with pytest.raises(exceptions.DivisionByZeroError):
                await awaited
    with pytest.raises(exceptions.DivisionByZeroError):
        await awaited  # again
    assert await connection.fetchval("SELECT 1") == 1


@both
async def test_the_exception_of_the_block_wins(
    connection: fastpg.Connection, complaints: list[Any], atomic: bool
) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE seen (i int)")
    await connection.fetch("SELECT $1::int", 1)
    with pytest.raises(ZeroDivisionError):
        async with connection.pipeline(atomic=atomic) as p:
            sent = p.execute("INSERT INTO seen VALUES ($1)", 1)
            assert await sent == "INSERT 0 1"
            p.fetchval("SELECT 1 / 0")
            unsent = p.fetchval("SELECT 'not described yet'")
            raise ZeroDivisionError
    error = await outcome(unsent)
    assert isinstance(error, exceptions.NotExecutedError) and error.fastpg is not None
    if not atomic:
        assert error.fastpg.outcome == "not_sent"
    assert await connection.fetchval("SELECT count(*) FROM seen") == (0 if atomic else 1)


async def test_atomic_is_all_or_nothing(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE kept (i int PRIMARY KEY)")
    insert = "INSERT INTO kept VALUES ($1)"
    for wrong, kind in ((1, exceptions.UniqueViolationError), ("x", exceptions.DataError)):
        with pytest.raises(kind) as caught:
            async with connection.pipeline(atomic=True) as p:
                first = p.execute(insert, 1)
                second = p.execute(insert, 2)
                failing = p.execute(insert, wrong)
                last = p.execute(insert, 3)
        assert caught.value.pipeline_item == 2  # type: ignore[attr-defined]
        assert await outcome(failing) is caught.value
        for undone in (first, second, last):
            error = await outcome(undone)
            assert isinstance(error, exceptions.NotExecutedError) and error.__cause__ is caught.value
            assert "item #2" in str(error)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    async with connection.pipeline(atomic=True) as p:
        p.execute(insert, 1)
        p.executemany(insert, [(2,), (3,)])
    assert await connection.fetchval("SELECT count(*) FROM kept") == 3


@pytest.mark.parametrize("atomic", [False, True])
async def test_no_element_ends_the_others(connection: fastpg.Connection, atomic: bool) -> None:
    """None is no arguments, and not the end of them."""
    await connection.execute("CREATE TEMP TABLE kept (i int)")
    with pytest.raises(exceptions.DataError, match="element #1: expected a sequence, got NoneType"):
        async with connection.pipeline(atomic=atomic) as p:
            p.executemany("INSERT INTO kept VALUES ($1)", [(1,), None, (2,)])  # type: ignore[list-item]
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0


async def test_atomic_after_a_failure_inside_the_block(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    async with connection.pipeline(atomic=True) as p:
        bad = p.fetchval("SELECT 1 / $1::int", 0)
        assert isinstance(await outcome(bad), exceptions.DivisionByZeroError)
        after = p.fetchval("SELECT 1")
        error = await outcome(after)
        assert isinstance(error, exceptions.NotExecutedError) and "item #0" in str(error)
    assert await connection.fetchval("SELECT 1") == 1


async def test_a_commit_that_fails(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.execute(
        "CREATE TEMP TABLE parents (i int PRIMARY KEY);"
        "CREATE TEMP TABLE children (i int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(exceptions.ForeignKeyViolationError):
        async with connection.pipeline(atomic=True) as p:
            child = p.execute("INSERT INTO children VALUES ($1)", 1)
    assert isinstance(await outcome(child), exceptions.NotExecutedError)
    assert await connection.fetchval("SELECT count(*) FROM children") == 0
    with pytest.raises(exceptions.ForeignKeyViolationError):
        async with connection.pipeline(atomic=True) as p:
            assert await p.execute("INSERT INTO children VALUES ($1)", 1) == "INSERT 0 1"


@both
async def test_in_a_transaction(connection: fastpg.Connection, complaints: list[Any], atomic: bool) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE inside (i int)")
    transaction = connection.transaction()
    await transaction.start()
    async with connection.pipeline(atomic=atomic) as p:
        p.execute("INSERT INTO inside VALUES (1)")
        seen = p.fetchval("SELECT count(*) FROM inside")
    assert await seen == 1 and connection.is_in_transaction()
    with pytest.raises(exceptions.DivisionByZeroError):
        async with connection.pipeline(atomic=atomic) as p:
            p.fetchval("SELECT 1 / 0")
            after = p.fetchval("SELECT 1")
    wanted = exceptions.NotExecutedError if atomic else exceptions.InFailedSQLTransactionError
    assert isinstance(await outcome(after), wanted)
    await transaction.rollback()
    assert await connection.fetchval("SELECT count(*) FROM inside") == 0


async def test_a_failing_source(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE fed (i int)")

    def elements() -> Any:
        yield (1,)
        raise KeyError("mine")

    for atomic in (False, True):
        with pytest.raises(KeyError, match="mine"):
            async with connection.pipeline(atomic=atomic) as p:
                p.executemany("INSERT INTO fed VALUES ($1)", elements())
                behind = p.fetchval("SELECT 1")
        assert isinstance(await outcome(behind), exceptions.NotExecutedError) if atomic else await behind == 1
        assert await connection.fetchval("SELECT count(*) FROM fed") == 0


async def test_values_that_cannot_be_decoded(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    for atomic in (False, True):
        async with connection.pipeline(atomic=atomic) as p:
            bad = p.fetch("SELECT '0044-03-15 BC'::date")
            good = p.fetchval("SELECT 1")
            missing = p.fetchval("SELECT 1", column=7)
            if not atomic:
                assert isinstance(await outcome(bad), exceptions.UnrepresentableValueError)
                assert isinstance(await outcome(missing), IndexError)
            else:
                assert await good == 1
                assert isinstance(await outcome(bad), exceptions.UnrepresentableValueError)
                assert isinstance(await outcome(missing), IndexError)
        assert await good == 1


# ----------------------------------------------------------------------------- misuse


async def test_the_connection_is_in_use(connection: fastpg.Connection, dsn: str) -> None:
    async with connection.pipeline() as p:
        for call in (
            lambda: connection.fetch("SELECT 1"), lambda: connection.execute("SELECT 1"),
            lambda: connection.prepare("SELECT 1"), connection.transaction().start,
            lambda: connection.pipeline().__aenter__(), connection.reset,
        ):  # fmt: skip
            with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
                await call()
        for name in ("transaction", "cursor", "prepare", "pipeline", "copy_from_table", "copy_records_to_table"):
            with pytest.raises(exceptions.InterfaceError, match=f"{name}.. is not possible in a pipeline"):
                getattr(p, name)()
        with pytest.raises(AttributeError):
            _ = p.no_such_thing
        with pytest.raises(TypeError):
            p.fetch(1)  # type: ignore[arg-type]
        assert await p.fetchval("SELECT 1") == 1
    with pytest.raises(exceptions.InterfaceError, match="not open"):
        p.fetch("SELECT 1")
    with pytest.raises(exceptions.InterfaceError, match="twice"):
        await p.__aenter__()
    with pytest.raises(exceptions.InterfaceError, match="not open"):
        connection.pipeline().fetch("SELECT 1")
    assert await connection.fetchval("SELECT 1") == 1
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool, pool.acquire() as borrowed:
        async with borrowed.pipeline() as p:
            one = p.fetchval("SELECT 1")
        assert await one == 1


@both
@pytest.mark.parametrize(
    "text", ["COPY {} FROM STDIN", "/* a */ -- b\n copy {} to stdout", ";; Copy {} FROM STDIN (FORMAT binary)"]
)
async def test_copy_is_refused(
    connection: fastpg.Connection, complaints: list[Any], atomic: bool, text: str
) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE copied (i int)")
    if atomic:
        with pytest.raises(exceptions.InterfaceError):
            await connection.fetch(text.format("copied"))  # the statement is known then
    with pytest.raises(exceptions.InterfaceError, match="COPY is not possible in a pipeline"):
        async with connection.pipeline(atomic=atomic) as p:
            before = p.fetchval("SELECT 1")
            refused = p.execute(text.format("copied"))
            behind = p.fetchval("SELECT 2")
    assert isinstance(await outcome(refused), exceptions.InterfaceError)
    if not atomic:
        assert await before == 1 and await behind == 2
    assert await connection.fetchval("SELECT 1") == 1


# --------------------------------------------------------------- timeouts and cancels


async def test_a_timeout_with_others_behind(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.fetch("SELECT pg_sleep($1::float8)", 0)
    async with connection.pipeline() as p:
        before = p.fetchval("SELECT 1")
        slow = p.execute("SELECT pg_sleep($1::float8)", 0.4, timeout=0.1)
        behind = [p.fetchval("SELECT $1::int", i) for i in range(20)]
        assert isinstance(await outcome(slow), asyncio.TimeoutError)
        assert not behind[0].done()
    # What runs behind it was never in danger: it was not cancelled.
    assert await before == 1 and [await b for b in behind] == list(range(20))
    with pytest.raises(asyncio.TimeoutError):
        async with connection.pipeline(timeout=0.1) as p:
            p.execute("SELECT pg_sleep($1::float8)", 30)
    assert await connection.fetchval("SELECT 1") == 1


async def test_all_time_out(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.fetch("SELECT pg_sleep($1::float8)", 0)

    async def run() -> None:
        with pytest.raises(asyncio.TimeoutError):
            async with connection.pipeline(timeout=0.2) as p:
                for _ in range(5):
                    p.execute("SELECT pg_sleep($1::float8)", 30)
        assert await connection.fetchval("SELECT 1") == 1

    await asyncio.wait_for(run(), 20)


async def test_atomic_timeout(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    await connection.execute("CREATE TEMP TABLE slow (i int)")
    with pytest.raises((asyncio.TimeoutError, exceptions.NotExecutedError)):
        async with connection.pipeline(atomic=True, timeout=0.2) as p:
            p.execute("INSERT INTO slow VALUES (1)")
            p.execute("SELECT pg_sleep(30)")
            with pytest.raises(exceptions.InterfaceError, match="no timeout of its own"):
                p.fetch("SELECT 1", timeout=1)
    assert await asyncio.wait_for(connection.fetchval("SELECT count(*) FROM slow"), LIMIT) == 0


@both
async def test_the_task_is_cancelled(connection: fastpg.Connection, complaints: list[Any], atomic: bool) -> None:
    listen(complaints)
    for inside in (True, False):
        entered = asyncio.Event()

        async def work(inside: bool = inside, entered: asyncio.Event = entered) -> None:
            async with connection.pipeline(atomic=atomic) as p:
                p.fetchval("SELECT 1")
                slow = p.execute("SELECT pg_sleep(60)")
                p.fetchval("SELECT 2")
                entered.set()
                if inside:
                    await slow

        task = asyncio.ensure_future(work())
        await entered.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(connection.fetchval("SELECT 1"), LIMIT) == 1


async def test_one_caller_is_cancelled(connection: fastpg.Connection, complaints: list[Any]) -> None:
    listen(complaints)
    async with connection.pipeline() as p:
        tasks = [asyncio.ensure_future(p.fetchval("SELECT $1::int", i)) for i in range(10)]
        waiting = asyncio.ensure_future(outcome(p.fetchval("SELECT $1::int + pg_sleep(0.05)::text::int", 5)))
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        last = p.fetchval("SELECT 'last'")
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done[1::2] == [1, 3, 5, 7, 9] and await last == "last"
    assert isinstance(await waiting, exceptions.PostgresError)


@both
async def test_a_lost_connection(dsn: str, complaints: list[Any], atomic: bool) -> None:
    listen(complaints)
    connection = await fastpg.connect(dsn)
    with pytest.raises(exceptions.ConnectionDoesNotExistError):
        async with connection.pipeline(atomic=atomic) as p:
            p.fetchval("SELECT 1")
            p.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            behind = [p.fetchval("SELECT 2") for _ in range(3)]
    for waiter in behind:
        error = await outcome(waiter)
        assert isinstance(error, (exceptions.ConnectionDoesNotExistError, exceptions.AdminShutdownError))
    assert connection.is_closed()


async def test_random_pipelines(dsn: str, complaints: list[Any]) -> None:
    """Tagged answers: whatever is cancelled, times out or fails, each gets its own or an exception of its own."""
    listen(complaints)
    rng = random.Random(20)
    queries = ["SELECT $1::int", "SELECT $1::int /* b */", "SELECT $1::int FROM pg_sleep(0.001)"]

    async def one(connection: fastpg.Connection, n: int) -> int:
        right = 0
        async with connection.pipeline(atomic=rng.random() < 0.3) as p:
            sent = []
            for i in range(rng.randrange(1, 40)):
                tag = n * 1000 + i
                if rng.random() < 0.1:
                    connection._cache.clear()
                timeout = None if p.atomic or rng.random() < 0.9 else 0.002
                if rng.random() < 0.03:
                    sent.append((None, p.fetchval("SELECT 1 / $1::int", 0, timeout=timeout)))
                else:
                    sent.append((tag, p.fetchval(rng.choice(queries), tag, timeout=timeout)))
                if rng.random() < 0.05:
                    await asyncio.sleep(rng.choice([0, 0, 0.001]))
                if rng.random() < 0.05:
                    rng.choice(sent)[1].cancel()
                if rng.random() < 0.01:
                    raise LookupError
            for tag, waiter in sent:
                try:
                    assert await waiter == tag
                    right += 1
                except (exceptions.DivisionByZeroError, exceptions.NotExecutedError, asyncio.TimeoutError):
                    pass
                except asyncio.CancelledError:
                    if not waiter.cancelled():
                        raise
        return right

    async def run(n: int) -> int:
        connection = await fastpg.connect(dsn)
        right = 0
        for i in range(40):
            task = asyncio.ensure_future(one(connection, n * 100 + i))
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() * 0.01)
                task.cancel()
            try:
                right += await task
            except (LookupError, asyncio.CancelledError, asyncio.TimeoutError):
                pass
            except (exceptions.DivisionByZeroError, exceptions.NotExecutedError):
                pass
            assert await asyncio.wait_for(connection.fetchval("SELECT $1::int", i), LIMIT) == i
        await connection.close()
        return right

    right = await asyncio.wait_for(asyncio.gather(*[run(n) for n in range(4)]), 60)
    assert sum(right) > 500


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_while_new_statements_are_described(
    connection: Any, complaints: list[Any], turns: int
) -> None:
    listen(complaints)
    with pytest.raises(asyncio.CancelledError):
        async with connection.pipeline(atomic=True) as p:
            for number in range(5):
                p.fetchval(f"SELECT {number} /* {turns} */")
            for _ in range(turns):
                await asyncio.sleep(0)
            raise asyncio.CancelledError
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_while_leaving_describes_new_statements(
    connection: Any, complaints: list[Any], turns: int
) -> None:
    listen(complaints)

    async def leave() -> None:
        async with connection.pipeline(atomic=True) as p:
            for number in range(5):
                p.fetchval(f"SELECT {number} /* leaving, {turns} */")

    task = asyncio.ensure_future(leave())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.fetchval("SELECT 1") == 1


@both
async def test_on_a_pool(dsn: str, atomic: bool) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.pipeline(atomic=atomic) as p:
            squares = [p.fetchval("SELECT $1::int * $1::int", i) for i in range(20)]
            assert pool.get_idle_size() == 0
        assert [await square for square in squares] == [i * i for i in range(20)]
        with pytest.raises(exceptions.DivisionByZeroError):
            async with pool.pipeline(atomic=atomic) as p:
                p.fetchval("SELECT 1 / $1::int", 0)
        with pytest.raises(LookupError):
            async with pool.pipeline(atomic=atomic):
                raise LookupError
        assert pool.get_idle_size() == 1 and await pool.fetchval("SELECT 1") == 1


# --------------------------------------------------------------------- a lying server

BOUND, ROW, DONE = messages.bind_complete(), messages.data_row(bytes(4)), messages.command_complete("SELECT 1")


@pytest.mark.parametrize("method", ["fetchval", "fetch"])
@pytest.mark.parametrize(
    "answer", [ROW, DONE, BOUND + BOUND, BOUND + ROW + DONE + ROW, BOUND + ROW + DONE + DONE, messages.ready()]
)
async def test_a_batch_answered_out_of_order(answer: bytes, method: str) -> None:
    described = (messages.parse_complete() + messages.parameter_description() + messages.row_description(("a", 23))
                 + messages.ready())  # fmt: skip
    script = [packet(), messages.logged_in(), *[message()] * 3, described, *[message()] * 5, answer, STALL]
    with FakeServer(script) as server:
        connection = await fastpg.connect(server.dsn, sslmode="disable")
        with pytest.raises(exceptions.ProtocolError):
            async with connection.pipeline(atomic=True) as p:
                getattr(p, method)("SELECT 1")
                getattr(p, method)("SELECT 1")
        assert connection.is_closed()


@both
async def test_the_connection_ends_behind_the_description_of_a_statement(atomic: bool) -> None:
    described = messages.parse_complete() + messages.parameter_description() + messages.no_data() + messages.ready()
    script = [packet(), messages.logged_in(), *[message()] * 3, described + messages.ready(), STALL]
    with FakeServer(script) as server:
        connection = await fastpg.connect(server.dsn, sslmode="disable")
        with pytest.raises(exceptions.InterfaceError) as caught:
            async with connection.pipeline(atomic=atomic) as p:
                await asyncio.wait_for(p.execute("SET a TO b"), LIMIT)
        assert caught.value.fastpg is not None and caught.value.fastpg.outcome == "not_sent"
        assert connection.is_closed()
