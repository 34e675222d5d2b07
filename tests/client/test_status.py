# SPDX-License-Identifier: MIT
"""What execute() returns: the status as a str that knows how many rows it tells of."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest

import fastpg
from fastpg.protocol.status import command_status
from fastpg.types import CommandStatus
from tests.contract import differs
from tests.sidebyside import Diary, compare


@pytest.mark.parametrize(
    ("tag", "command", "rows"),
    [
        ("INSERT 0 3", "INSERT", 3),
        ("INSERT 0 0", "INSERT", 0),
        ("UPDATE 12", "UPDATE", 12),
        ("SELECT 9223372036854775807", "SELECT", 9223372036854775807),
        ("COPY 5", "COPY", 5),
        ("MOVE 1", "MOVE", 1),
        ("BEGIN", "BEGIN", None),
        ("CREATE TABLE", "CREATE TABLE", None),
        ("", "", None),
    ],
)
def test_parts(tag: str, command: str, rows: int | None) -> None:
    status = command_status(tag.encode())
    assert (status.command, status.rows) == (command, rows)


def test_it_is_that_str() -> None:
    status: Any = command_status(b"INSERT 0 3")
    assert status == "INSERT 0 3" and "INSERT 0 3" == status and hash(status) == hash("INSERT 0 3")
    assert repr(status) == "'INSERT 0 3'" and f"{status}" == "INSERT 0 3" and json.dumps(status) == '"INSERT 0 3"'
    assert {"INSERT 0 3": 1}[status] == 1 and status.split() == ["INSERT", "0", "3"]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(status, protocol))
        assert again == status and type(again) is str, "to be read where there is no fastpg"
    assert copy.copy(status).rows == 3 and copy.deepcopy([status])[0].rows == 3
    assert not hasattr(status, "__dict__")
    assert command_status(None) == "" and command_status(None).rows is None


def test_tags_that_are_remembered_are_few() -> None:
    assert [command_status(b"SELECT %d" % i).rows for i in range(5000)] == list(range(5000))


async def test_of_every_method(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        assert (await pool.execute("CREATE TABLE IF NOT EXISTS statused (a int); TRUNCATE statused")).rows is None
        try:
            async with pool.acquire() as connection:
                insert = "INSERT INTO statused SELECT generate_series(1, $1)"
                for _ in range(2):  # prepared first, then known
                    assert (await connection.execute(insert, 3)).rows == 3
                assert (await connection.execute("SELECT 1; DELETE FROM statused WHERE a > 0")).rows == 6
                statement = await connection.prepare(insert)
                assert statement.get_statusmsg() is None
                await statement.fetch(7)
                assert statement.get_statusmsg().rows == 7
                for atomic in (False, True):
                    async with connection.pipeline(atomic=atomic) as p:
                        sent = p.execute(insert, 4)
                    status = await sent
                    assert type(status) is CommandStatus and status.rows == 4
                assert await connection.executemany(insert, [(1,)]) is None
                output = io.BytesIO()
                assert (await connection.copy_from_table("statused", output=output)).rows == 16
                assert (await connection.copy_to_table("statused", source=output.getvalue())).rows == 16
                assert (await connection.copy_records_to_table("statused", records=[(1,)])).rows == 1
            for _ in range(3):  # new to the connection, then in one compiled step
                status = await pool.execute(insert, 2)
                assert type(status) is CommandStatus and status.rows == 2
        finally:
            await pool.execute("DROP TABLE statused")


@differs("Status")
async def test_as_asyncpg(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        connection = await diary.driver.connect(diary.dsn)
        for query in ("CREATE TEMP TABLE s (a int)", "INSERT INTO s VALUES (1), (2)", "SELECT 1; DELETE FROM s"):
            status = await connection.execute(query)
            diary.note(query, isinstance(status, str), len(status), [status], {status: status})
            assert type(status) is (CommandStatus if diary.driver is fastpg else str)
        diary.note(await connection.execute("DELETE FROM s WHERE a = $1", 3))
        await connection.close()

    await compare(dsn, scenario)
