# SPDX-License-Identifier: MIT
from fastpg.types import CommandStatus

def command_status(tag: bytes | None) -> CommandStatus: ...
