# SPDX-License-Identifier: MIT
"""ARCHITECTURE.md's table of layers, held against every import and cimport of fastpg/."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastpg"

BASE = ["fastpg", "fastpg.wire", "fastpg.simd", "fastpg.types", "fastpg.pgproto.*", "fastpg.exceptions*",
        "fastpg._encodings"]
PARAMETERS = ["fastpg._conninfo", "fastpg._params", "fastpg._passfile", "fastpg._resolved", "fastpg._service",
              "fastpg.dsn", "fastpg.tls", "fastpg.security"]  # fmt: skip
# Module -> what of fastpg it may import; the first pattern that fits counts, and a module may always import itself.
LAYERS: dict[str, list[str]] = {
    "fastpg": ["*"],
    "fastpg.wire": [],
    "fastpg.simd": [],
    "fastpg.exceptions*": ["fastpg.exceptions*"],
    "fastpg.types": ["fastpg.exceptions*", "fastpg.pgproto.*", "fastpg._temporal"],
    "fastpg.pgproto*": ["fastpg.pgproto*", "fastpg.wire", "fastpg.types"],
    "fastpg.codecs*": [*BASE, "fastpg.codecs*", "fastpg._temporal"],
    "fastpg._temporal": [],
    "fastpg.protocol.frontend": ["fastpg.wire", "fastpg.exceptions*", "fastpg.codecs.codec"],
    "fastpg.protocol.backend": ["fastpg.wire", "fastpg.exceptions*"],
    "fastpg.protocol.record": ["fastpg.wire", "fastpg.exceptions*"],
    # A view of the whole, under the name that it has in asyncpg.
    "fastpg.protocol.protocol": [*BASE, "fastpg.protocol*", "fastpg.codecs*", "fastpg._hooks", "fastpg.settings"],
    "fastpg.protocol.row": [*BASE, "fastpg.codecs.codec", "fastpg.protocol.record"],
    "fastpg.protocol.status": ["fastpg.types"],
    "fastpg.protocol.auth": ["fastpg.wire", "fastpg.exceptions*", "fastpg.protocol.scram", "fastpg.protocol.backend"],
    "fastpg.protocol.scram": ["fastpg.exceptions*", "fastpg.protocol._saslprep*"],
    "fastpg.protocol.*": [*BASE, "fastpg.protocol*", "fastpg.codecs.codec"],
    "fastpg.protocol": ["fastpg.protocol.*"],
    "fastpg.sinks*": [*BASE, "fastpg.sinks*", "fastpg.codecs.codec", "fastpg.codecs._unknown", "fastpg.protocol",
                      "fastpg.protocol.row", "fastpg.protocol.record", "fastpg.protocol.backend"],
    "fastpg.client": [*BASE, "fastpg.protocol*"],
    "fastpg.call": ["fastpg.client", "fastpg.protocol.operation", "fastpg.protocol.row", "fastpg.sinks.record",
                    "fastpg.codecs._unknown", "fastpg.types"],
    "fastpg._conninfo": [*BASE, *PARAMETERS],
    "fastpg._params": [*BASE, *PARAMETERS],
    "fastpg._passfile": [*BASE, *PARAMETERS],
    "fastpg._resolved": [*BASE, *PARAMETERS],
    "fastpg._service": [*BASE, *PARAMETERS],
    "fastpg.dsn": [*BASE, *PARAMETERS],
    "fastpg.tls": [*BASE, *PARAMETERS],
    "fastpg.security": [*BASE, *PARAMETERS],
    "fastpg._dispatch": ["fastpg.call", "fastpg.client", "fastpg.protocol", "fastpg.protocol.operation",
                         "fastpg.protocol.backend", "fastpg.protocol.row", "fastpg.sinks.record", "fastpg.wire",
                         "fastpg.exceptions*"],
    "fastpg._sharing": ["fastpg._dispatch", "fastpg.call", "fastpg.protocol.operation", "fastpg.protocol.row"],
    "fastpg._holder": ["fastpg._dispatch", "fastpg._sharing", "fastpg._startup", "fastpg._typing", "fastpg.connection",
                       "fastpg.exceptions*"],
    "fastpg._depth": ["fastpg.client", "fastpg.protocol.probe", "fastpg.exceptions*"],
    "fastpg._limit": ["fastpg._dispatch"],
    "fastpg._pool_calls": ["fastpg.pipeline", "fastpg._hooks", "fastpg._typing", "fastpg.protocol.record",
                           "fastpg.types"],
    "fastpg._shapes": [],
    "fastpg._reread": [*BASE, "fastpg.codecs.bytea", "fastpg.protocol.operation", "fastpg.protocol.row",
                       "fastpg.sinks.record"],
    "fastpg._type_codecs": ["fastpg.exceptions*"],
    "fastpg._types": ["*"],
    "fastpg._statements": ["fastpg._shapes", "fastpg._reread", "fastpg._types", "fastpg.protocol.oneshot",
                           "fastpg.protocol.operation", "fastpg.protocol.row", "fastpg.codecs._unknown",
                           "fastpg.codecs.registry", "fastpg.exceptions*"],
    "fastpg._running": ["fastpg._statements", "fastpg._hooks", "fastpg._row_factory", "fastpg.protocol.begin",
                        "fastpg.protocol.operation", "fastpg.protocol.record", "fastpg.sinks.base",
                        "fastpg.sinks.record", "fastpg.codecs._unknown", "fastpg.exceptions*", "fastpg.types"],
    "fastpg._alias": ["*"],
    "fastpg._typing": ["fastpg.protocol.record"],
    "fastpg._row_factory": [*BASE, "fastpg.sinks*", "fastpg.protocol.record"],
    "fastpg._internals": [*BASE, "fastpg.client", "fastpg._server", "fastpg.serverversion"],
    "fastpg._hooks": [*BASE, "fastpg.client", "fastpg._copy", "fastpg._internals", "fastpg.protocol*",
                      "fastpg.settings", "fastpg.sinks*"],
    "fastpg._cancel": ["fastpg.exceptions*", "fastpg.connect", "fastpg._startup"],
    "fastpg._copy_sql": [],
    "fastpg._copy_io": [],
    "fastpg._copy": [*BASE, "fastpg._copy_*", "fastpg._startup", "fastpg.protocol*", "fastpg.sinks.record",
                     "fastpg.codecs.registry"],
    "fastpg._listeners": ["fastpg.exceptions*", "fastpg._callbacks"],
    "fastpg._*": [*BASE, *PARAMETERS, "fastpg._*", "fastpg.protocol.auth", "fastpg.protocol.session", "fastpg.client"],
    "fastpg.connect": [*BASE, *PARAMETERS, "fastpg._*", "fastpg.protocol*", "fastpg.client", "fastpg.codecs*",
                       "fastpg.connection", "fastpg.settings"],
    "fastpg.reply": [],
    "fastpg.batch": ["fastpg.reply", "fastpg.protocol", "fastpg.protocol.*", "fastpg.sinks.record",
                     "fastpg.codecs.codec", "fastpg.wire", "fastpg.exceptions*"],
    "fastpg.pipeline": ["fastpg.reply", "fastpg.batch", "fastpg.client", "fastpg.protocol.operation",
                        "fastpg.protocol.row", "fastpg.codecs._unknown", "fastpg.exceptions*", "fastpg.sinks.record",
                        "fastpg.types", "fastpg._typing", "fastpg.protocol.record"],
    # The API: all of the above.
    "fastpg.*": ["*"],
}  # fmt: skip
# No I/O below the client.
SANS_IO = ["fastpg.codecs*", "fastpg.protocol*", "fastpg.sinks*", "fastpg.wire", "fastpg.types", "fastpg.exceptions*"]
IO = {"asyncio", "uvloop", "socket", "ssl", "selectors", "subprocess"}  # threading is there for its locks

FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+c?import[ \t]*(\([^)]*\)|[^\n#]*)", re.MULTILINE)
PLAIN = re.compile(r"^[ \t]*c?import[ \t]+([\w.]+)", re.MULTILINE)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxd", ".pyi"))
MODULES = {module_name(path) for path in SOURCES}


def imports(text: str, module: str = "", is_package: bool = False) -> set[str]:
    """The modules that a source names: `from package import submodule` counts as the submodule."""
    found = set(PLAIN.findall(text))
    for origin, names in FROM.findall(text):
        if origin.startswith("."):
            dots = len(origin) - len(origin.lstrip("."))
            parts = module.split(".")[: len(module.split(".")) - dots + is_package]
            origin = ".".join([*parts, *filter(None, [origin.lstrip(".")])])
        submodules = {f"{origin}.{name}" for name in re.findall(r"\b(\w+)\b", names)} & MODULES
        found |= submodules or {origin}
    return found


def allowed(module: str, target: str) -> bool:
    if target == module or target.split(".")[0] != "fastpg":
        return True
    rule = next(patterns for pattern, patterns in LAYERS.items() if fnmatchcase(module, pattern))
    return any(fnmatchcase(target, pattern) for pattern in rule)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports(path: Path) -> None:
    module = module_name(path)
    # `if TYPE_CHECKING:` blocks name types only.
    text = re.sub(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", "", path.read_text(), flags=re.MULTILINE)
    targets = imports(text, module, path.stem == "__init__")
    wrong = sorted(target for target in targets if not allowed(module, target))
    assert not wrong, f"{module} may not import {', '.join(wrong)}"
    if any(fnmatchcase(module, pattern) for pattern in SANS_IO):
        assert not {target.split(".")[0] for target in targets} & IO, f"{module} does no I/O"


def test_the_reader_sees_every_form() -> None:
    text = "from fastpg.wire cimport (\n    Out,\n    load_i32,\n)\nimport asyncio\n"
    text += "    from fastpg.protocol import session\n"
    assert imports(text) == {"fastpg.wire", "asyncio", "fastpg.protocol.session"}
    assert imports("from . import session", "fastpg.protocol.row") == {"fastpg.protocol.session"}
    assert not allowed("fastpg.codecs.number", "fastpg.client")
    assert not allowed("fastpg.protocol.session", "fastpg.connection")
    assert not allowed("fastpg.sinks.record", "fastpg.client")
    assert allowed("fastpg.connection", "fastpg.client")
