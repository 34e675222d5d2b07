# SPDX-License-Identifier: MIT
from typing import Any

from fastpg.protocol.operation import Operation

class Synchronize(Operation):
    def __init__(self, waiter: Any = None) -> None: ...

class FailedTransaction(Operation): ...
