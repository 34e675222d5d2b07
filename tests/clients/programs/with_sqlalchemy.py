# SPDX-License-Identifier: MIT
"""SQLAlchemy over whatever `import asyncpg` gives. Argument: a DSN, and the dialect's name if not asyncpg."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import sys
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

DSN = sys.argv[1]
DIALECT = sys.argv[2] if len(sys.argv) > 2 else "asyncpg"
URL = sa.engine.make_url(DSN).set(drivername=f"postgresql+{DIALECT}")
SCHEMA = "client_sqlalchemy"


class Colour(enum.Enum):
    red = "red"
    green = "green"


class Base(DeclarativeBase):
    metadata = sa.MetaData(schema=SCHEMA)


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), unique=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(sa.ForeignKey(f"{SCHEMA}.author.id"))
    title: Mapped[str]
    price: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(10, 2))
    author: Mapped[Author] = relationship(back_populates="books")


kinds = sa.Table(
    "kinds",
    Base.metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("b", sa.Boolean),
    sa.Column("f", sa.Float),
    sa.Column("big", sa.BigInteger),
    sa.Column("d", sa.Date),
    sa.Column("t", sa.Time),
    sa.Column("ts", sa.DateTime),
    sa.Column("tz", sa.DateTime(timezone=True)),
    sa.Column("i", sa.Interval),
    sa.Column("bin", sa.LargeBinary),
    sa.Column("u", sa.Uuid),
    sa.Column("j", sa.JSON),
    sa.Column("jb", pg.JSONB),
    sa.Column("e", sa.Enum(Colour, name="colour", schema=SCHEMA)),
    sa.Column("a", pg.ARRAY(sa.Integer)),
    sa.Column("r", pg.INT4RANGE),
    sa.Column("m", pg.INT4MULTIRANGE),
    sa.Column("net", pg.INET),
    sa.Column("h", sa.Text),
)
ROW: dict[str, Any] = {
    "id": 1, "b": True, "f": 1.5, "big": 2**40, "d": datetime.date(2024, 2, 29), "t": datetime.time(1, 2, 3, 4),
    "ts": datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
    "tz": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "i": datetime.timedelta(days=2, hours=3), "bin": b"\0\xff", "u": uuid.UUID(int=5),
    "j": {"a": [1, None, "x"]}, "jb": [{"b": 2.5}, "ü"], "e": Colour.green,
    "a": [1, 2, None], "r": pg.Range(1, 5), "m": [pg.Range(1, 3), pg.Range(7, 9)], "net": "10.0.0.1",
    "h": "zwölf",
}  # fmt: skip


async def core(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.insert(kinds), [ROW])
        await connection.execute(sa.insert(kinds), [{"id": n, "h": f"row {n}"} for n in range(2, 120)])
        row = (await connection.execute(sa.select(kinds).where(kinds.c.id == 1))).one()
        print("row", dict(row._mapping))
        result = await connection.execute(sa.update(kinds).where(kinds.c.id > 100).values(b=False))
        print("updated", result.rowcount)
        print("json", (await connection.execute(sa.select(kinds.c.jb[0]["b"]).where(kinds.c.id == 1))).scalar())
        print("server", [c for c in (await connection.execute(sa.text("SELECT 1 AS one, 'x' AS two"))).keys()])
    async with engine.connect() as connection:
        total = 0
        result = await connection.stream(sa.select(kinds.c.id).order_by(kinds.c.id))
        async for row in result:
            total += row.id
        print("streamed", total)
        result = await connection.stream(sa.select(kinds.c.id).order_by(kinds.c.id))
        print("partition", [len(part) async for part in result.partitions(50)])


async def orm(engine: AsyncEngine) -> None:
    session_of = async_sessionmaker(engine, expire_on_commit=False)
    async with session_of() as session, session.begin():
        ada = Author(name="Ada", books=[Book(title=f"Notes {n}", price=decimal.Decimal(n) / 4) for n in range(3)])
        session.add_all([ada, Author(name="Bob")])
    async with session_of() as session:
        authors = await session.scalars(sa.select(Author).options(selectinload(Author.books)).order_by(Author.id))
        for author in authors:
            print("author", author.name, [(book.title, book.price) for book in author.books])
        await session.execute(sa.update(Book).where(Book.title == "Notes 1").values(title="Notes one"))
        await session.commit()
        print("title", await session.scalar(sa.select(Book.title).where(Book.price == decimal.Decimal("0.25"))))
    async with session_of() as session:
        session.add(Author(name="Carl"))
        await session.flush()
        try:
            async with session.begin_nested():
                session.add(Author(name="Ada"))
                await session.flush()
        except exc.IntegrityError as error:
            print("nested", type(error.orig).__name__, type(error).__name__, error.orig.sqlstate)
        await session.commit()
        print("count", await session.scalar(sa.select(sa.func.count()).select_from(Author)))


async def errors(engine: AsyncEngine) -> None:
    insert = f"INSERT INTO {SCHEMA}.author (name) VALUES (NULL)"
    for sql in ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC", "SELECT 'x'::int", insert):
        async with engine.connect() as connection:
            try:
                await connection.execute(sa.text(sql))
            except exc.DBAPIError as error:
                print("error", type(error).__name__, type(error.orig).__name__, error.orig.sqlstate)
    async with engine.connect() as connection:
        try:
            await connection.execute(sa.text("SELECT CAST(:x AS int)"), {"x": "no"})
        except exc.DBAPIError as error:
            print("error", type(error).__name__, str(error.orig).split("'")[-1])


async def pooling(engine: AsyncEngine) -> None:
    async def work(n: int) -> int:
        async with engine.connect() as connection:
            return (await connection.execute(sa.text("SELECT CAST(:n AS int) * 2"), {"n": n})).scalar_one()

    print("pool", await asyncio.gather(*[work(n) for n in range(20)]))
    for level in ("SERIALIZABLE", "REPEATABLE READ", "AUTOCOMMIT"):
        async with engine.connect() as connection:
            connection = await connection.execution_options(isolation_level=level)
            print("isolation", (await connection.execute(sa.text("SHOW transaction_isolation"))).scalar())
    # A connection that the server has ended is noticed by the ping.
    pinged = create_async_engine(URL, pool_pre_ping=True, pool_size=1)
    async with pinged.connect() as connection:
        pid = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar()
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    await asyncio.sleep(0.1)
    async with pinged.connect() as connection:
        print("pinged", (await connection.execute(sa.text("SELECT pg_backend_pid() <> :pid"), {"pid": pid})).scalar())
    await pinged.dispose()


async def schema_changes(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE TABLE {SCHEMA}.wide (a int)"))
        await connection.execute(sa.text(f"INSERT INTO {SCHEMA}.wide VALUES (1)"))
    query = sa.text(f"SELECT * FROM {SCHEMA}.wide")
    async with engine.connect() as one, engine.connect() as two:
        print("before", (await one.execute(query)).all())
        await one.commit()
        await two.execute(sa.text(f"ALTER TABLE {SCHEMA}.wide ADD COLUMN b text DEFAULT 'b'"))
        await two.commit()
        for _ in range(2):
            try:
                print("after", (await one.execute(query)).all())
            except exc.DBAPIError as error:
                print("stale", type(error.orig).__name__)
                await one.rollback()


async def reflection(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        inspector = await connection.run_sync(lambda sync: sa.inspect(sync))
        names = await connection.run_sync(lambda _: sorted(inspector.get_table_names(schema=SCHEMA)))
        columns = await connection.run_sync(lambda _: inspector.get_columns("kinds", schema=SCHEMA))
        keys = await connection.run_sync(lambda _: inspector.get_foreign_keys("book", schema=SCHEMA))
        print("tables", names, [(c["name"], str(c["type"])) for c in columns], keys[0]["constrained_columns"])


async def driver(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        con = raw.driver_connection
        print("driver", type(con).__module__, type(con).__name__, await con.fetchval("SELECT $1::int", 5))


async def main() -> None:
    engine = create_async_engine(URL, pool_size=3, max_overflow=2)
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        await connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
        await connection.run_sync(Base.metadata.create_all)
    for part in (core, orm, errors, pooling, schema_changes, reflection, driver):
        await part(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.execute(sa.text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    await engine.dispose()
    async with AsyncSession(engine) as session:
        print("again", await session.scalar(sa.text("SELECT 1")))
    await engine.dispose()


asyncio.run(main())
