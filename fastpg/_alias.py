# SPDX-License-Identifier: MIT
"""fastpg under asyncpg's name: for programs and libraries that say `import asyncpg`.

`asyncpg` is a module of its own: __name__ is 'asyncpg', __version__ the version whose API this is, __all__ asyncpg's.
Every module below it is the very module of fastpg: `asyncpg.pool is fastpg.pool`. The classes that asyncpg has say that
they come from asyncpg.*, which tools look at, and which pickles name.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import logging
import re
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any, Final

VERSION: Final = "0.32.0"
"""The release of asyncpg whose API fastpg has."""

MODULES: Final = (
    "compat", "connect_utils", "connection", "connresource", "cursor", "exceptions", "exceptions._base",
    "introspection", "pgproto", "pgproto.pgproto", "pgproto.types", "pool", "prepared_stmt", "protocol",
    "protocol.protocol", "protocol.record", "serverversion", "transaction", "types", "utils",
)  # fmt: skip
"""The modules that asyncpg has, and fastpg too."""

OWN: Final = frozenset({
    "NotExecutedError", "Outcome", "PgDataError", "PgError", "PgIntegrityError", "PgSerializationError",
    "UnrepresentableValueError", "annotate", "from_fields", "log_message",
})  # fmt: skip
"""What stands in those modules of fastpg and is not asyncpg's: it keeps its name."""

MOVED: Final = {
    "fastpg._hooks": "asyncpg.protocol.protocol",
    "fastpg._query_log": "asyncpg.connection",
    "fastpg.settings": "asyncpg.protocol.protocol",
}
"""Where asyncpg has what fastpg has elsewhere."""

_METADATA: Final = f"""\
Metadata-Version: 2.1
Name: asyncpg
Version: {VERSION}
Summary: The API of asyncpg, by fastpg
"""


class Distribution(importlib.metadata.Distribution):
    """What importlib.metadata tells of asyncpg."""

    def read_text(self, filename: str) -> str | None:
        return {"METADATA": _METADATA, "INSTALLER": "fastpg\n"}.get(filename)

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(f"{path}: asyncpg is fastpg here and has no files of its own")


class Finder(importlib.metadata.DistributionFinder, importlib.abc.Loader):
    """Finds `asyncpg` and the modules below it."""

    def __init__(self, package: types.ModuleType) -> None:
        self.package = package

    def module(self, fullname: str) -> types.ModuleType:
        """The module for a name of asyncpg's tree."""
        if fullname == "asyncpg":
            return self.package
        return importlib.import_module("fastpg" + fullname.removeprefix("asyncpg"))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != "asyncpg":
            return None
        if rest and rest not in MODULES:
            if "." not in rest:
                return None  # asyncpg.__path__ is empty: nobody else finds it either
            # Nobody else may look: they would load fastpg's files a second time.
            raise ModuleNotFoundError(f"No module named {fullname!r} (asyncpg is fastpg here)", name=fullname)
        is_package = hasattr(self.module(fullname), "__path__")
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = self.module(spec.name)
        # The import system writes the spec over the module's own; see exec_module().
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        name = getattr(context, "name", None)
        if name is None or re.sub(r"[-_.]+", "-", name).lower() == "asyncpg":
            yield Distribution()


def install() -> None:
    """Let `import asyncpg` give fastpg, in this process, from now on. A second call does nothing.

    Call it before anything has imported asyncpg: RuntimeError when the real one is there already.
    """
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if "asyncpg" in sys.modules:
        raise RuntimeError(
            "asyncpg is imported already: call fastpg.install_as_asyncpg() before anything imports it, "
            "or start the program with `python -m fastpg.asyncpg program.py`"
        )
    modules = {name: importlib.import_module(f"fastpg.{name}") for name in MODULES}
    rename(modules)
    package = make_package(modules)
    sys.meta_path.insert(0, Finder(package))
    sys.modules["asyncpg"] = package
    for name, module in modules.items():
        sys.modules[f"asyncpg.{name}"] = module


class _Installs:
    """Unpickling it is install_everywhere()."""

    def __reduce__(self) -> tuple[Any, ...]:
        return install_everywhere, ()


def install_everywhere() -> None:
    """install(), here and in the processes that multiprocessing will start anew, such as a server's workers."""
    install()
    import multiprocessing
    from multiprocessing import spawn

    if "forkserver" in multiprocessing.get_all_start_methods():
        # It would import the program's main module by itself; the processes that it forks do so too.
        multiprocessing.set_forkserver_preload([])
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        # It is unpickled before the program's main module is imported; nobody looks at it.
        return {**original(name), "fastpg": _Installs()}

    spawn.get_preparation_data = get_preparation_data


def make_package(modules: dict[str, types.ModuleType]) -> types.ModuleType:
    """The module `asyncpg`."""
    import fastpg

    package = types.ModuleType("asyncpg", fastpg.__doc__)
    finder = Finder(package)
    package.__spec__ = importlib.machinery.ModuleSpec("asyncpg", finder, origin=fastpg.__file__, is_package=True)
    package.__loader__ = finder
    package.__file__ = fastpg.__file__
    package.__path__ = []
    package.__package__ = "asyncpg"
    names: dict[str, Any] = {name: getattr(fastpg, name) for name in fastpg.__all__}
    names.update({name: module for name, module in modules.items() if "." not in name})
    vars(package).update(names)
    exceptions = [name for name in modules["exceptions"].__all__ if name not in OWN]
    vars(package).update({
        "__version__": VERSION,
        "__all__": ("connect", "create_pool", "Pool", "Record", "Connection", *exceptions),
        # What fastpg has beside it.
        "__getattr__": lambda name: getattr(fastpg, name),
    })  # fmt: skip
    return package


def rename(modules: dict[str, types.ModuleType]) -> None:
    """Let what asyncpg has too say that it comes from there."""
    names = {f"fastpg.{name}": f"asyncpg.{name}" for name in modules} | MOVED
    for module in modules.values():
        for name, value in vars(module).items():
            home = getattr(value, "__module__", None)
            if name in OWN or home not in names or not isinstance(value, (type, types.FunctionType)):
                continue
            try:
                value.__module__ = names[home]
            except TypeError:
                pass  # of a class that is written in C
    modules["protocol.record"]._rename(True)
    modules["pool"].logger = logging.getLogger("asyncpg.pool")  # type: ignore[attr-defined]
