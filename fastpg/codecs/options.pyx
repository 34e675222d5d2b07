# SPDX-License-Identifier: MIT
# What a connection has instead of built-in codecs, by options of connect(): made once a connection, then part of its
# Registry like anything built in. May import: codec, json, number, temporal_policy, uuid, exceptions.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle
from fastpg.codecs.json cimport json_objects
from fastpg.codecs.number cimport strict_number
from fastpg.codecs.temporal_policy cimport temporal_by
from fastpg.codecs.uuid cimport uuid_as_plain

from fastpg.codecs._json_libraries import functions
from fastpg.codecs.number import STRICT_OIDS
from fastpg.codecs.temporal_policy import MODES
from fastpg.codecs.temporal_policy import OIDS as TEMPORAL_OIDS
from fastpg.exceptions import ClientConfigurationError

cdef enum:
    JSON = 114
    JSONB = 3802
    UUID = 2950


cdef dict strict_numbers_codecs():
    return {oid: CodecHandle.borrow(<Codec *>strict_number(oid)) for oid in STRICT_OIDS}


cdef CodecHandle plain_uuid_codec():
    return CodecHandle.borrow(<Codec *>uuid_as_plain())


cdef class CodecOptions:
    """The codecs that options of connect() ask for; see there for what they mean.

    Raises ClientConfigurationError for a value that an option does not have.
    """

    def __init__(self, *, json=None, strict_numbers=False, plain_uuid=False, out_of_range="error",
                 max_is_infinity=False, array_bounds=False):
        for name, value in (("strict_numbers", strict_numbers), ("plain_uuid", plain_uuid),
                            ("max_is_infinity", max_is_infinity), ("array_bounds", array_bounds)):
            if not isinstance(value, bool):
                raise ClientConfigurationError(f"{name} is expected to be True or False, got {value!r}")
        if out_of_range not in MODES:
            raise ClientConfigurationError(
                f"out_of_range is expected to be one of {', '.join(map(repr, MODES))}, got {out_of_range!r}")
        self.json = functions(json) if json is not None and json is not False else None
        self.array_bounds = array_bounds
        self.codecs = {}
        if strict_numbers:
            self.codecs.update(strict_numbers_codecs())
        if plain_uuid:
            self.codecs[UUID] = plain_uuid_codec()
        if out_of_range != "error" or max_is_infinity:
            for oid in TEMPORAL_OIDS:
                self.codecs[oid] = temporal_by(oid, out_of_range, max_is_infinity)

    cdef CodecHandle find(self, uint32_t oid, str encoding):
        if self.json is not None and (oid == JSON or oid == JSONB):
            loads, dumps, takes_text = self.json
            return json_objects(oid, loads, dumps, takes_text, encoding)
        return self.codecs.get(oid)

    @property
    def changes_nothing(self) -> bool:
        """Whether all codecs are the built-in ones."""
        return not self.codecs and self.json is None and not self.array_bounds
