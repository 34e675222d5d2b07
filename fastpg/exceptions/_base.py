# SPDX-License-Identifier: MIT
"""The exceptions that have no SQLSTATE of their own, and how server messages become objects."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, NoReturn, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = (
    "ClientConfigurationError",
    "FatalPostgresError",
    "InterfaceError",
    "InterfaceWarning",
    "InternalClientError",
    "OutdatedSchemaCacheError",
    "PostgresError",
    "PostgresLogMessage",
    "ProtocolError",
    "TargetServerAttributeNotMatched",
    "UnknownPostgresError",
    "UnsupportedClientFeatureError",
    "UnsupportedServerFeatureError",
)

_E = TypeVar("_E", bound=BaseException)

# Field codes of ErrorResponse and NoticeResponse (manual, "Error and Notice Message Fields") -> attribute.
FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "S": "severity",
        "V": "severity_en",
        "C": "sqlstate",
        "M": "message",
        "D": "detail",
        "H": "hint",
        "P": "position",
        "p": "internal_position",
        "q": "internal_query",
        "W": "context",
        "s": "schema_name",
        "t": "table_name",
        "c": "column_name",
        "d": "data_type_name",
        "n": "constraint_name",
        "F": "server_source_filename",
        "L": "server_source_line",
        "R": "server_source_function",
    }
)


class Outcome(NamedTuple):
    """What is known of the operation that failed, as `exc.fastpg`.

    Repeating an operation is safe only when `outcome` is 'not_sent', or when the server reported SQLSTATE 40001 or
    40P01 for a transaction that is repeated as a whole.
    """

    phase: str
    """What the client was doing: 'connect', 'query', 'copy' and so on."""
    bytes_sent: bool
    """Whether a byte of the operation may have reached the server."""
    outcome: Literal["not_sent", "failed", "unknown"]
    """'not_sent': the server never saw it; 'failed': the server refused it; 'unknown': it may have taken effect."""
    backend_pid: int | None = None
    """Process ID of the server's backend, when there was a connection."""


def annotate(
    exc: _E,
    *,
    phase: str,
    bytes_sent: bool,
    outcome: Literal["not_sent", "failed", "unknown"],
    backend_pid: int | None = None,
) -> _E:
    """Attach an `Outcome` to any exception as `exc.fastpg` and return the exception.

    Builtin exceptions (TimeoutError, CancelledError, OSError) carry it too. One that takes no attributes is returned
    unchanged.
    """
    try:
        object.__setattr__(exc, "fastpg", Outcome(phase, bytes_sent, outcome, backend_pid))
    except (AttributeError, TypeError):
        pass
    return exc


def _with_notes(text: str, detail: str | None, hint: str | None) -> str:
    if detail:
        text = f"{text}\nDETAIL:  {detail}"
    if hint:
        text = f"{text}\nHINT:  {hint}"
    return text


class PostgresMessageMeta(type):
    """Metaclass of the classes that stand for messages of the server."""

    # Set once, when fastpg.exceptions has been imported completely.
    _by_sqlstate: ClassVar[Mapping[str, type[PostgresMessage]]] = MappingProxyType({})

    @classmethod
    def get_message_class_for_sqlstate(mcls, code: str | None) -> type[PostgresMessage]:
        """The class for an SQLSTATE; `UnknownPostgresError` when there is none."""
        return mcls._by_sqlstate.get(code or "", UnknownPostgresError)


class PostgresMessage(metaclass=PostgresMessageMeta):
    """Base of everything the server says in ErrorResponse and NoticeResponse."""

    severity: str | None = None
    severity_en: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: str | None = None
    internal_position: str | None = None
    internal_query: str | None = None
    context: str | None = None
    schema_name: str | None = None
    table_name: str | None = None
    column_name: str | None = None
    data_type_name: str | None = None
    constraint_name: str | None = None
    server_source_filename: str | None = None
    server_source_line: str | None = None
    server_source_function: str | None = None
    query: str | None
    fastpg: Outcome | None = None

    def as_dict(self) -> dict[str, str]:
        """The fields that the message had, by attribute name."""
        values = ((name, getattr(self, name)) for name in FIELDS.values())
        return {name: value for name, value in values if value is not None}


class PgError(Exception):
    """Any error reported by the server: `except PgError` catches them all."""

    sqlstate: str | None = None

    @property
    def code(self) -> str | None:
        """The SQLSTATE, five characters, or None when the server sent none."""
        return self.sqlstate


class PostgresError(PostgresMessage, PgError):
    """An error reported by the server."""

    def __str__(self) -> str:
        return _with_notes(str(self.args[0]) if self.args else "", self.detail, self.hint)

    @classmethod
    def new(cls, fields: Mapping[str, str], query: str | None = None) -> PostgresError:
        """The exception for the fields of an ErrorResponse; see `fastpg.exceptions.from_fields`."""
        from fastpg import exceptions

        return exceptions.from_fields(fields, query)


class FatalPostgresError(PostgresError):
    """An error after which the server closes the connection."""


class UnknownPostgresError(FatalPostgresError):
    """An error with an SQLSTATE that this release does not know, or with none."""


class PgIntegrityError(PostgresError):
    """Any error of SQLSTATE class 23: a constraint was violated."""


class PgDataError(PostgresError):
    """Any error of SQLSTATE class 22: a value does not fit."""


class PgSerializationError(PostgresError):
    """SQLSTATE 40001 or 40P01: the transaction lost against another one and may be repeated as a whole."""


class PostgresLogMessage(PostgresMessage):
    """A notice or warning of the server. Immutable."""

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.message}"

    def __setattr__(self, name: str, value: Any) -> None:
        # The interpreter and contextlib set __traceback__, __cause__, __notes__ on those that are exceptions too.
        if not name.startswith("__"):
            self._refuse()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("__"):
            self._refuse()
        super().__delattr__(name)

    def _refuse(self) -> NoReturn:
        raise TypeError(f"instances of {type(self).__name__} are immutable")

    # Without it unpickling would go through __setattr__ where an exception is among the bases.
    def __setstate__(self, state: dict[str, Any] | None) -> None:
        if state:
            self.__dict__.update(state)

    @classmethod
    def new(cls, fields: Mapping[str, str], query: str | None = None) -> PostgresMessage:
        """The object for the fields of a NoticeResponse; see `fastpg.exceptions.log_message`."""
        from fastpg import exceptions

        return exceptions.log_message(fields, query)


class InterfaceMessage:
    """A message of the client with optional detail and hint."""

    args: tuple[Any, ...]
    detail: str | None
    hint: str | None
    fastpg: Outcome | None = None

    def __init__(self, *, detail: str | None = None, hint: str | None = None) -> None:
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return _with_notes(str(self.args[0]) if self.args else "", self.detail, self.hint)


class InterfaceError(InterfaceMessage, Exception):
    """The driver was used in a way that it refuses."""

    def __init__(self, msg: str, *, detail: str | None = None, hint: str | None = None) -> None:
        InterfaceMessage.__init__(self, detail=detail, hint=hint)
        Exception.__init__(self, msg)

    def with_msg(self, msg: str) -> Self:
        """A copy with another message and the same detail, hint, cause and traceback."""
        copy = type(self)(msg, detail=self.detail, hint=self.hint).with_traceback(self.__traceback__)
        copy.__cause__ = self.__cause__
        copy.__context__ = self.__context__
        copy.fastpg = self.fastpg
        return copy


class ClientConfigurationError(InterfaceError, ValueError):
    """The parameters for a connection are wrong."""


class UnsupportedClientFeatureError(InterfaceError):
    """The driver cannot do what was asked for."""


class UnsupportedServerFeatureError(InterfaceError):
    """The server cannot do what was asked for."""


class NotExecutedError(InterfaceError):
    """A statement of a pipeline that was not run, or was undone, because another one failed: its ``__cause__``."""


class InterfaceWarning(InterfaceMessage, UserWarning):
    """The driver was used in a way that is likely wrong."""

    def __init__(self, msg: str, *, detail: str | None = None, hint: str | None = None) -> None:
        InterfaceMessage.__init__(self, detail=detail, hint=hint)
        UserWarning.__init__(self, msg)


class InternalClientError(Exception):
    """Something went wrong inside the driver, or between the driver and the server."""

    fastpg: Outcome | None = None


class ProtocolError(InternalClientError):
    """The server sent what the protocol does not allow. The connection is closed."""


class TargetServerAttributeNotMatched(InternalClientError):
    """No server of the list has the role that `target_session_attrs` asks for."""


class OutdatedSchemaCacheError(InternalClientError):
    """A type changed on the server after the driver had read its definition."""

    def __init__(
        self, msg: str, *, schema: str | None = None, data_type: str | None = None, position: int | None = None
    ) -> None:
        super().__init__(msg)
        self.schema_name = schema
        self.data_type_name = data_type
        self.position = position
