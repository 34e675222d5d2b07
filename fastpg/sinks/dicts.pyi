# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any

from fastpg.sinks.base import ItemSink

class DictSink(ItemSink):
    def __init__(self, factory: Any = None, check: Callable[[Any, tuple[str, ...]], None] | None = None) -> None: ...
