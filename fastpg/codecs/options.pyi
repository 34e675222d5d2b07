# SPDX-License-Identifier: MIT
from typing import Any, Literal

class CodecOptions:
    def __init__(
        self,
        *,
        json: Any = None,
        strict_numbers: bool = False,
        plain_uuid: bool = False,
        out_of_range: Literal["error", "text", "clamp"] = "error",
        max_is_infinity: bool = False,
        array_bounds: bool = False,
    ) -> None: ...
    @property
    def changes_nothing(self) -> bool: ...
