# SPDX-License-Identifier: MIT
"""pgvector's codecs. Its types stand on bytea here: the extension need not be installed to test what goes over."""

from __future__ import annotations

import asyncio
import sys

import asyncpg
from pgvector import HalfVector, SparseVector, Vector
from pgvector.asyncpg import register_vector

TYPES = "".join(
    f"""
    CREATE TYPE {name};
    CREATE FUNCTION {name}_in(cstring) RETURNS {name} AS 'byteain' LANGUAGE internal IMMUTABLE STRICT;
    CREATE FUNCTION {name}_out({name}) RETURNS cstring AS 'byteaout' LANGUAGE internal IMMUTABLE STRICT;
    CREATE FUNCTION {name}_recv(internal) RETURNS {name} AS 'bytearecv' LANGUAGE internal IMMUTABLE STRICT;
    CREATE FUNCTION {name}_send({name}) RETURNS bytea AS 'byteasend' LANGUAGE internal IMMUTABLE STRICT;
    CREATE TYPE {name}
        (INPUT = {name}_in, OUTPUT = {name}_out, RECEIVE = {name}_recv, SEND = {name}_send, LIKE = bytea);
    """
    for name in ("vector", "halfvec", "sparsevec")
)


async def main() -> None:
    connection = await asyncpg.connect(sys.argv[1])
    try:
        await register_vector(connection, schema="no_such_schema")
    except ValueError as error:
        print(type(error).__name__, error)
    await connection.execute("DROP SCHEMA IF EXISTS client_pgvector CASCADE; CREATE SCHEMA client_pgvector")
    await connection.execute("SET search_path TO client_pgvector, public")
    await connection.execute("SET client_min_messages TO warning;" + TYPES)
    await register_vector(connection, schema="client_pgvector")
    await connection.execute("CREATE TABLE item (id int, v vector, h halfvec, s sparsevec, vs vector[])")
    values = Vector([1, 2.5, -3]), HalfVector([1, 2, 3]), SparseVector([0, 1.5, 0])
    await connection.execute("INSERT INTO item VALUES (1, $1, $2, $3, $4)", *values, [Vector([1]), None])
    await connection.executemany("INSERT INTO item (id, v) VALUES ($1, $2)", [(n, [n, n + 1]) for n in range(2, 5)])
    for row in await connection.fetch("SELECT * FROM item ORDER BY id"):
        print(row)
    pool = await asyncpg.create_pool(
        sys.argv[1], min_size=1, max_size=1, init=lambda c: register_vector(c, schema="client_pgvector")
    )
    print(await pool.fetchval("SELECT v FROM client_pgvector.item WHERE id = 3"))
    await pool.close()
    try:
        await connection.execute("INSERT INTO item (v) VALUES ($1)", "wrong")
    except asyncpg.DataError as error:
        print(type(error).__name__, str(error).split("(")[0])
    await connection.execute("DROP SCHEMA client_pgvector CASCADE")
    await connection.close()


asyncio.run(main())
