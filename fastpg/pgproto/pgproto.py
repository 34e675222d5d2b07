# SPDX-License-Identifier: MIT
"""The names that programs import from asyncpg.pgproto.pgproto."""

from __future__ import annotations

import datetime
import uuid as _uuid
from datetime import timedelta

from fastpg.pgproto._uuid import UUID

pg_UUID = UUID
std_UUID = _uuid.UUID
utc = datetime.timezone.utc
date_from_ordinal = datetime.date.fromordinal

pg_epoch_date = datetime.date(2000, 1, 1)
pg_epoch_datetime = datetime.datetime(2000, 1, 1)
pg_epoch_datetime_utc = datetime.datetime(2000, 1, 1, tzinfo=utc)

# What 'infinity' and '-infinity' compare equal to.
infinity_date = datetime.date.max
infinity_datetime = datetime.datetime.max
negative_infinity_date = datetime.date.min
negative_infinity_datetime = datetime.datetime.min

__all__ = ["UUID", "pg_UUID", "std_UUID", "timedelta", "utc"]
