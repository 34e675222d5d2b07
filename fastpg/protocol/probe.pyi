# SPDX-License-Identifier: MIT
from fastpg.protocol.operation import Operation

class Probe(Operation):
    def __init__(self, statements: int) -> None: ...
