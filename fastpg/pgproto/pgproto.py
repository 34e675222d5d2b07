# SPDX-License-Identifier: MIT
"""The names that programs import from asyncpg.pgproto.pgproto."""

from __future__ import annotations

from fastpg.pgproto._uuid import UUID

pg_UUID = UUID

__all__ = ["UUID", "pg_UUID"]
