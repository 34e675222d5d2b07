# SPDX-License-Identifier: MIT
"""The names that programs import from asyncpg.pgproto.pgproto."""

from __future__ import annotations

import datetime as _datetime
import uuid as _uuid
from datetime import timedelta

from fastpg.pgproto._uuid import UUID

pg_UUID = UUID
std_UUID = _uuid.UUID
utc = _datetime.timezone.utc
date_from_ordinal = _datetime.date.fromordinal

pg_epoch_date = _datetime.date(2000, 1, 1)
pg_epoch_datetime = _datetime.datetime(2000, 1, 1)
pg_epoch_datetime_utc = _datetime.datetime(2000, 1, 1, tzinfo=utc)

# What 'infinity' and '-infinity' compare equal to.
infinity_date = _datetime.date.max
infinity_datetime = _datetime.datetime.max
negative_infinity_date = _datetime.date.min
negative_infinity_datetime = _datetime.datetime.min

__all__ = ["UUID", "pg_UUID", "std_UUID", "timedelta", "utc"]
