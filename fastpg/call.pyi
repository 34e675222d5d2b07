# SPDX-License-Identifier: MIT
import asyncio
from typing import Any

from fastpg.client import Client
from fastpg.protocol.operation import Execute
from fastpg.protocol.row import RowSink
from fastpg.types import CommandStatus

class Call(Execute): ...

def value(
    client: Client, query: Any, args: tuple[Any, ...], column: int | str, timeout: float | None
) -> asyncio.Future[Any] | None: ...
def rows(
    client: Client, query: Any, args: tuple[Any, ...], record_class: type | RowSink, limit: int, timeout: float | None
) -> asyncio.Future[Any] | None: ...
def status(
    client: Client, query: Any, args: tuple[Any, ...], timeout: float | None
) -> asyncio.Future[CommandStatus] | None: ...
