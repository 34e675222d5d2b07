# SPDX-License-Identifier: MIT
from fastpg._dispatch import Dispatcher, PoolCall

class Statement: ...
class SharedCall(PoolCall): ...

class SharingDispatcher(Dispatcher):
    target: float
    slow: float
    round_trip: float
