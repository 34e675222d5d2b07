# SPDX-License-Identifier: MIT
"""Tortoise ORM: models, relations, transactions, errors, raw SQL."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import sys
import uuid

from tortoise import Tortoise, fields
from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.exceptions import DBConnectionError, IntegrityError, OperationalError
from tortoise.expressions import F
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Team(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(50, unique=True)
    members: fields.ReverseRelation[Member]

    class Meta:
        table = "client_tortoise_team"


class Member(Model):
    id = fields.UUIDField(primary_key=True)
    team: fields.ForeignKeyRelation[Team] = fields.ForeignKeyField("models.Team", related_name="members")
    name = fields.TextField()
    joined = fields.DatetimeField()
    born = fields.DateField(null=True)
    pay = fields.DecimalField(10, 2)
    active = fields.BooleanField(default=True)
    data: fields.JSONField[object] = fields.JSONField(null=True)
    blob = fields.BinaryField(null=True)
    score = fields.FloatField(default=0.0)
    big = fields.BigIntField(default=0)

    class Meta:
        table = "client_tortoise_member"


async def main() -> None:
    url = sys.argv[1].replace("postgresql://", "asyncpg://")
    await Tortoise.init(db_url=url, modules={"models": ["__main__"]})
    connection = Tortoise.get_connection("default")
    print(isinstance(connection, AsyncpgDBClient))
    await connection.execute_script("DROP TABLE IF EXISTS client_tortoise_member, client_tortoise_team")
    await Tortoise.generate_schemas()
    red = await Team.create(name="red")
    joined = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    for n in range(5):
        await Member.create(
            id=uuid.UUID(int=n), team=red, name=f"member {n}", joined=joined, born=datetime.date(2000, 1, n + 1),
            pay=decimal.Decimal(n) * 10, data={"n": [n, None]}, blob=bytes([n]), score=n / 2, big=2**40,
        )  # fmt: skip
    await Member.bulk_create([
        Member(id=uuid.UUID(int=n), team=red, name=f"bulk {n}", joined=joined, pay=1) for n in range(10, 20)
    ])  # fmt: skip
    member = await Member.get(id=uuid.UUID(int=3)).prefetch_related("team")
    print({name: getattr(member, name) for name in ("name", "joined", "born", "pay", "data", "blob", "score", "big")})
    print(member.team.name, await Member.filter(active=True).count())
    print(await Member.filter(pay__gt=15).order_by("pay").values_list("name", "pay"))
    print("updated", await Member.filter(pay=1).update(pay=F("pay") + 1))
    print("deleted", await Member.filter(name__startswith="bulk 1").delete())
    try:
        async with in_transaction() as transaction:
            await Team.create(name="blue", using_db=transaction)
            raise RuntimeError("back")
    except RuntimeError:
        pass
    async with in_transaction():
        await Team.create(name="green")
    print(await Team.all().order_by("name").values_list("name", flat=True))
    for action in (lambda: Team.create(name="red"), lambda: connection.execute_query("SELECT * FROM nowhere")):
        try:
            await action()
        except (IntegrityError, OperationalError) as error:
            print(type(error).__name__, type(error.__cause__ or error.args[0]).__name__)
    print(await connection.execute_query_dict("SELECT 1 AS one, $1::text AS two", ["x"]))
    print(await connection.execute_query("UPDATE client_tortoise_team SET name = name"))
    print(await asyncio.gather(*[Team.filter(id__gte=n).count() for n in range(8)]))
    await connection.execute_script("DROP TABLE client_tortoise_member, client_tortoise_team")
    await Tortoise.close_connections()
    await Tortoise.init(db_url=url.rpartition("/")[0] + "/no_such_database", modules={"models": ["__main__"]})
    try:
        await Tortoise.get_connection("default").execute_query("SELECT 1")
    except DBConnectionError as error:
        print("no database:", str(error).partition(":")[0])
    await Tortoise.close_connections()


asyncio.run(main())
