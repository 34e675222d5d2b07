# SPDX-License-Identifier: MIT
"""A PostgreSQL driver for asyncio and uvloop that speaks the wire protocol itself."""

__version__ = "0.1.0"
