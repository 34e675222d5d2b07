# SPDX-License-Identifier: MIT
"""What the server at the other end can do, and how a session of it is made as new."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from fastpg.types import ServerVersion

__all__ = ("ServerCapabilities", "before_reset", "capabilities", "reset_query")

# Each reports a parameter of its own: Amazon Redshift, CockroachDB, CrateDB.
REDSHIFT, COCKROACH, CRATE = "padb_revision", "crdb_version", "crate_version"

# RESET ALL leaves the role and the session's user (manual, "RESET"). The user goes first: the new role may be one that
# the user of now must not take. Both go back to what the session began with.
RESET_USER = "RESET SESSION AUTHORIZATION;\nRESET ROLE;\n"
# What DISCARD ALL does beyond that, but for the statements that the driver has prepared.
DISCARD = """DISCARD TEMP;
DISCARD SEQUENCES;
DO $$ DECLARE s text; BEGIN
FOR s IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP EXECUTE 'DEALLOCATE ' || quote_ident(s);
END LOOP; END $$;
"""


class ServerCapabilities(NamedTuple):
    """What a server that speaks the protocol can do of PostgreSQL's SQL."""

    advisory_locks: bool
    notifications: bool
    plpgsql: bool
    sql_reset: bool
    sql_close_all: bool
    sql_copy_from_where: bool
    jit: bool


def capabilities(version: ServerVersion, parameters: Mapping[str, str]) -> ServerCapabilities:
    """By what the server reports. parameters: its ParameterStatus messages."""
    if COCKROACH in parameters or CRATE in parameters:
        return ServerCapabilities(*[False] * 7)
    if REDSHIFT in parameters:
        return ServerCapabilities(*[False] * 7)._replace(sql_reset=True)
    return _of_postgresql(version.major)


@functools.lru_cache(maxsize=32)
def _of_postgresql(major: int) -> ServerCapabilities:
    return ServerCapabilities(
        advisory_locks=True, notifications=True, plpgsql=True, sql_reset=True, sql_close_all=True,
        sql_copy_from_where=major >= 12, jit=major >= 11,
    )  # fmt: skip


def reset_query(can: ServerCapabilities) -> str:
    """asyncpg's statements: no locks, cursors, channels and settings are left."""
    lines = []
    if can.advisory_locks:
        lines.append("SELECT pg_advisory_unlock_all();")
    if can.sql_close_all:
        lines.append("CLOSE ALL;")
    if can.notifications and can.plpgsql:
        lines.append("UNLISTEN *;")
    if can.sql_reset:
        lines.append("RESET ALL;")
    return "\n".join(lines)


def before_reset(can: ServerCapabilities, discard: bool) -> str:
    """What reset_query() leaves of a former user: the role; with `discard`, temporary tables and the like."""
    if not (can.sql_reset and can.plpgsql):
        return ""
    return RESET_USER + (DISCARD if discard else "")
