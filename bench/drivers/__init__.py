# SPDX-License-Identifier: MIT
"""One module for each subject: how a driver does the works, in its best honest configuration.

Everything runs on uvloop, in binary where the driver has it, by prepared statements, with compiled builds. A driver
that cannot do a work has no method for it, and its cell of the table is empty.
"""

from __future__ import annotations

from importlib import import_module

from bench.drivers.base import Driver, Step

__all__ = ["OURS", "PEERS", "SUBJECTS", "Driver", "Step", "driver"]

MODULES = {
    "floor": ("bench.drivers.floor", "FloorDriver"),
    "fastpg": ("bench.drivers.fastpg", "FastpgDriver"),
    "pipelined": ("bench.drivers.fastpg", "PipelinedPoolDriver"),
    "asyncpg": ("bench.drivers.asyncpg", "AsyncpgDriver"),
    "psycopg": ("bench.drivers.psycopg", "PsycopgDriver"),
    "psqlpy": ("bench.drivers.psqlpy", "PsqlpyDriver"),
}
SUBJECTS = tuple(MODULES)
OURS = ("fastpg", "pipelined")
PEERS = ("asyncpg", "psycopg", "psqlpy")


def driver(name: str, dsn: str) -> Driver:
    """The named subject. Raises ImportError when its package is not installed."""
    module, cls = MODULES[name]
    made: Driver = getattr(import_module(module), cls)(dsn)
    return made
