# SPDX-License-Identifier: MIT
"""The JSON libraries that connect(json=...) knows by name."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

from fastpg.exceptions import ClientConfigurationError

__all__ = ["NAMES", "functions"]

NAMES = ("stdlib", "orjson", "msgspec")


def functions(given: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any], bool]:
    """(loads, dumps, whether loads is to be given str) of the option `json`, None aside.

    given: True, a name of NAMES, a pair (loads, dumps), or an object with `loads` and `dumps`. Only the standard
    library is given str: it would make one of the bytes itself, and more slowly.
    Raises ClientConfigurationError.
    """
    if given is True or given == "stdlib":
        return json.JSONDecoder().decode, json.dumps, True
    if given == "orjson":
        module = _import("orjson")
        return module.loads, module.dumps, False
    if given == "msgspec":
        module = _import("msgspec.json")
        return module.decode, module.encode, False
    pair = given if isinstance(given, (tuple, list)) else (getattr(given, "loads", None), getattr(given, "dumps", None))
    if isinstance(given, str) or len(pair) != 2 or not all(callable(function) for function in pair):
        raise ClientConfigurationError(
            f"json is expected to be None, True, {', '.join(map(repr, NAMES))}, a pair of functions (loads, dumps) or "
            f"an object that has them, got {given!r}"
        )
    return pair[0], pair[1], False


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ClientConfigurationError(
            f"json={name.partition('.')[0]!r} needs the package of that name: {error}",
            hint=f"pip install {name.partition('.')[0]}",
        ) from error
