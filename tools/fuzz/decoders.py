# SPDX-License-Identifier: MIT
"""Malformed inputs for the decoders: a value, or one of the errors that a decoder may raise, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastpg.codecs.composite import UnknownTypeError
from fastpg.exceptions import (
    OutdatedSchemaCacheError,
    ProtocolError,
    UnrepresentableValueError,
    UnsupportedClientFeatureError,
)
from tools.fuzz import driver
from tools.fuzz.targets import Target

#: Beside ProtocolError (malformed) and UnrepresentableValueError: what containers say of the types in them.
ALLOWED = (OutdatedSchemaCacheError, UnknownTypeError, UnsupportedClientFeatureError)
CHUNK = 50_000


@dataclass
class Count:
    """What became of a target's inputs."""

    values: int = 0
    malformed: int = 0
    unrepresentable: int = 0
    refused: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.values + self.malformed + self.unrepresentable + self.refused + len(self.findings)


def replay(target: Target, data: bytes) -> str | None:
    """Decode an input that was a finding once; what is wrong, or None."""
    try:
        driver.decode_once(target.handle, data)
    except (ProtocolError, UnrepresentableValueError, *ALLOWED):
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def run(target: Target, seed: int, inputs: int, last: memoryview) -> Iterator[Count]:
    """Decode that many inputs; yields the count so far after each chunk."""
    count = Count()
    done = 0
    while done < inputs and len(count.findings) < 10:
        size = min(CHUNK, inputs - done)
        values, malformed, unrepresentable, refused, findings = driver.decode_many(
            target.handle, target.samples, seed * 1000003 + target.salt + done, size, ALLOWED, last
        )
        count.values += values
        count.malformed += malformed
        count.unrepresentable += unrepresentable
        count.refused += refused
        count.findings += findings
        done += size
        yield count
