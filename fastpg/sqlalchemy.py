# SPDX-License-Identifier: MIT
"""SQLAlchemy's dialect `postgresql+fastpg://`: that of asyncpg over fastpg, beside the real asyncpg if that is there.

Installed with fastpg, SQLAlchemy finds it by its entry point.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi, PGDialect_asyncpg

import fastpg
from fastpg import exceptions

__all__ = ("AsyncAdapt_fastpg_dbapi", "PGDialect_fastpg", "dialect")

_TRANSLATED = {
    "CheckViolationError": "CheckViolationError",
    "ExclusionViolationError": "ExclusionViolationError",
    "ForeignKeyViolationError": "ForeignKeyViolationError",
    "IntegrityConstraintViolationError": "IntegrityError",
    "InterfaceError": "InterfaceError",
    "InternalClientError": "InternalClientError",
    "InternalServerError": "InternalServerError",
    "InvalidCachedStatementError": "InvalidCachedStatementError",
    "NotNullViolationError": "NotNullViolationError",
    "PostgresError": "Error",
    "RestrictViolationError": "RestrictViolationError",
    "SyntaxOrAccessError": "ProgrammingError",
    "UniqueViolationError": "UniqueViolationError",
}


class AsyncAdapt_fastpg_dbapi(AsyncAdapt_asyncpg_dbapi):
    """The DB-API that SQLAlchemy sees."""

    @property
    def _asyncpg_error_translate(self) -> dict[type[BaseException], type[BaseException]]:
        # What SQLAlchemy raises for our exceptions; older releases have fewer classes of their own.
        return {
            getattr(exceptions, ours): getattr(self, theirs)
            for ours, theirs in _TRANSLATED.items()
            if hasattr(self, theirs)
        }


class PGDialect_fastpg(PGDialect_asyncpg):
    """PostgreSQL by fastpg."""

    driver = "fastpg"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """The DB-API module."""
        return AsyncAdapt_fastpg_dbapi(fastpg)  # type: ignore[no-untyped-call]


dialect = PGDialect_fastpg
