# SPDX-License-Identifier: MIT
from fastpg.protocol.operation import Execute

class OneShot(Execute): ...
