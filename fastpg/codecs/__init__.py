# SPDX-License-Identifier: MIT
"""Bytes <-> Python values. Importing the package registers every built-in codec and freezes the table."""

from fastpg.codecs import bit, bytea, geometry, json, misc, network, number, numeric, temporal, text, uuid
from fastpg.codecs.codec import freeze
from fastpg.codecs.registry import build_static_containers

__all__ = ["bit", "bytea", "geometry", "json", "misc", "network", "number", "numeric", "temporal", "text", "uuid"]

build_static_containers()
freeze()
