# SPDX-License-Identifier: MIT
"""The wire protocol."""

from fastpg.protocol.record import Record

__all__ = ["Record"]
