# SPDX-License-Identifier: MIT
import uuid

class UUID(uuid.UUID):
    def __init__(self, inp: bytes | bytearray | memoryview | str) -> None: ...

def _make(raw: bytes) -> UUID: ...
