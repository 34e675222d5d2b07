# SPDX-License-Identifier: MIT
"""Every exception that fastpg raises.

Server errors have one class a SQLSTATE under `PgError`; each offers the fields of the server's message as attributes
and the SQLSTATE as `code`. Any exception may carry `exc.fastpg`, an `Outcome` that says whether the operation can have
reached the server.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastpg.exceptions import _sqlstate
from fastpg.exceptions._base import (
    FIELDS,
    ClientConfigurationError,
    FatalPostgresError,
    InterfaceError,
    InterfaceWarning,
    InternalClientError,
    NotExecutedError,
    Outcome,
    OutdatedSchemaCacheError,
    PgDataError,
    PgError,
    PgIntegrityError,
    PgSerializationError,
    PostgresError,
    PostgresLogMessage,
    PostgresMessage,
    PostgresMessageMeta,
    ProtocolError,
    TargetServerAttributeNotMatched,
    UnknownPostgresError,
    UnsupportedClientFeatureError,
    UnsupportedServerFeatureError,
    annotate,
)
from fastpg.exceptions._sqlstate import *
from fastpg.exceptions._sqlstate import (
    BY_SQLSTATE,
    DataError,
    DuplicatePreparedStatementError,
    FeatureNotSupportedError,
    InvalidSQLStatementNameError,
    PostgresWarning,
)

_STALE_PLAN = "cached statement plan is invalid due to a database schema or configuration change"
_POOLER_HINT = (
    "A connection pooler between client and server (PgBouncer and others, in transaction or statement mode) may have "
    "moved this client to another server session, which has other prepared statements. Pool sessions instead, "
    "configure the pooler to track prepared statements, or switch the cache off with statement_cache_size=0."
)


class InvalidCachedStatementError(FeatureNotSupportedError):
    """A prepared statement no longer fits the tables it was planned for."""


class UnrepresentableValueError(DataError, ValueError, OverflowError):
    """A legal value of the server that the Python type cannot hold, such as a date before year 1.

    `column_name` and `row` (counted from 0 in the rows of this call) say where it was.
    """

    value: str | None = None
    """The value in its text form, where it is known."""
    row: int | None = None


for _class in BY_SQLSTATE.values():
    # Users see and pickle them by the public module's name.
    _class.__module__ = __name__
PostgresMessageMeta._by_sqlstate = BY_SQLSTATE
del _class


def _attributes(fields: Mapping[str, str], query: str | None) -> dict[str, str | None]:
    values: dict[str, str | None] = {"query": query}
    for letter, name in FIELDS.items():
        value = fields.get(letter)
        if value is not None:
            values[name] = value
    return values


def from_fields(fields: Mapping[str, str], query: str | None = None) -> PostgresError:
    """The exception for an ErrorResponse.

    Arguments: the fields by their one-letter codes, of which any may be missing and unknown ones are ignored; the SQL
    text, for the attribute `query`. An SQLSTATE without a class of its own gives `UnknownPostgresError`.
    """
    values = _attributes(fields, query)
    text = values.get("message") or ""
    found = BY_SQLSTATE.get(fields.get("C") or "")
    cls = found if found is not None and issubclass(found, PostgresError) else UnknownPostgresError
    if cls is FeatureNotSupportedError and fields.get("R") == "RevalidateCachedQuery":
        cls = InvalidCachedStatementError
        text = _STALE_PLAN  # the attribute keeps the server's own words
    elif cls is DuplicatePreparedStatementError or cls is InvalidSQLStatementNameError:
        hint = values.get("hint")
        values["hint"] = f"{hint}\n\n{_POOLER_HINT}" if hint else _POOLER_HINT
    error = cls(text)
    error.__dict__.update(values)
    return error


def log_message(fields: Mapping[str, str], query: str | None = None) -> PostgresMessage:
    """The object for a NoticeResponse: `PostgresLogMessage`, a `PostgresWarning`, or a server error that was logged.

    Arguments as for `from_fields`.
    """
    cls: type[PostgresMessage] | None = BY_SQLSTATE.get(fields.get("C") or "")
    if cls is not None and issubclass(cls, PostgresError):
        return from_fields(fields, query)
    if cls is None:
        warning = (fields.get("V") or fields.get("S")) == "WARNING"
        cls = PostgresWarning if warning else PostgresLogMessage
    values = _attributes(fields, query)
    if issubclass(cls, PostgresWarning):
        message: PostgresMessage = cls(values.get("message") or "")
    else:
        message = cls()
    message.__dict__.update(values)
    return message


# Names a program gets by `from fastpg.exceptions import *`.
__all__: tuple[str, ...] = (
    "ClientConfigurationError",
    "FatalPostgresError",
    "InterfaceError",
    "InterfaceWarning",
    "InternalClientError",
    "InvalidCachedStatementError",
    "NotExecutedError",
    "Outcome",
    "OutdatedSchemaCacheError",
    "PgDataError",
    "PgError",
    "PgIntegrityError",
    "PgSerializationError",
    "PostgresError",
    "PostgresLogMessage",
    "ProtocolError",
    "TargetServerAttributeNotMatched",
    "UnknownPostgresError",
    "UnrepresentableValueError",
    "UnsupportedClientFeatureError",
    "UnsupportedServerFeatureError",
    "annotate",
)
__all__ += _sqlstate.__all__
