# SPDX-License-Identifier: MIT
from typing import Any

from typing_extensions import Self

from fastpg.protocol.row import RowSink

class ListSink(RowSink):
    def again(self) -> Self: ...
    def resume(self) -> list[Any]: ...

class ItemSink(ListSink): ...
