# SPDX-License-Identifier: MIT
"""Fuzz the decoders, the encoders and the session with malformed bytes and objects.

Run it by `make fuzz` or `python -m tools.sanitize fuzz ...`: its inner loop is compiled, and it is worth most under
the sanitizers. The same seed gives the same inputs. Malformed inputs that it finds are written to tests/fuzz/corpus/,
and every later run decodes them first.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import mmap
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests/fuzz/corpus"
LAST = ROOT / "build/fuzz-last-input"
STALL = 120.0   # seconds after which a piece of work that takes milliseconds is a hang


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all randomness (default: 1)")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="malformed inputs a codec")
    parser.add_argument("--objects", type=int, default=2_000, help="hostile Python objects a codec")
    parser.add_argument("--sessions", type=int, default=100_000, help="mutated sessions")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it, for `make test`")
    parser.add_argument("--codec", help="only codecs whose name has this in it; no sessions")
    parser.add_argument("--list", action="store_true", help="list the codecs")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    result = parser.parse_args()
    if result.quick:
        result.inputs, result.objects, result.sessions = 5_000, 60, 5_000
    if result.codec:
        result.sessions = 0
    return result


def folder_of(target: str) -> Path:
    return CORPUS / "".join(c if c.isalnum() or c in "_-" else "_" for c in target)


def keep(target: str, data: bytes) -> Path:
    """Store what made a finding."""
    folder = folder_of(target)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha1(data).hexdigest()
    path.write_bytes(data)
    return path


class Watchdog:
    """Ends the process with a traceback when it is not called for a while. Says which piece of work was the last."""

    def __init__(self) -> None:
        LAST.parent.mkdir(parents=True, exist_ok=True)
        with LAST.open("w+b") as file:
            file.truncate(8192)
            self.map = mmap.mmap(file.fileno(), 8192)
        self.last = memoryview(self.map)[256:]

    def begin(self, name: str) -> None:
        faulthandler.dump_traceback_later(STALL, exit=True)
        self.map[:256] = name.encode()[:255].ljust(256, b"\0")
        self.map[256:260] = bytes(4)

    @staticmethod
    def culprit() -> tuple[str, bytes]:
        """Name and bytes of the last piece of work of a process that has died."""
        data = LAST.read_bytes()
        (length,) = struct.unpack_from("!I", data, 256)
        return data[:256].rstrip(b"\0").decode(), data[260 : 260 + length]


def fuzz_codecs(arguments: argparse.Namespace, watchdog: Watchdog) -> int:
    from tools.fuzz import decoders, encoders
    from tools.fuzz.targets import targets

    watchdog.begin("the making of samples")
    chosen = [t for t in targets() if not arguments.codec or any(arguments.codec in name for name in t.names)]
    if arguments.list:
        for target in chosen:
            print(f"{target.name:40} {len(target.samples):3} samples  {' '.join(target.names[1:])}")
        return 0
    print(f"{'codec':34} {'inputs':>9} {'values':>9} {'malformed':>9} {'no value':>9} {'refused':>9} {'us each':>8}")
    total, failed, started = 0, 0, time.monotonic()
    for number, target in enumerate(chosen, 1):
        begun = time.monotonic()
        watchdog.begin(target.name)
        for path in sorted(folder_of(target.name).glob("*")):
            wrong = decoders.replay(target, path.read_bytes())
            if wrong:
                print(f"    FOUND AGAIN {wrong}\n    {path}")
                failed += 1
        count = decoders.Count()
        for so_far in decoders.run(target, arguments.seed, arguments.inputs, watchdog.last):
            watchdog.begin(target.name)
            count = so_far
        each = (time.monotonic() - begun) / max(count.inputs, 1) * 1e6
        others = f"  and {len(target.names) - 1} more" if len(target.names) > 1 else ""
        print(f"{target.name[:34]:34} {count.inputs:9} {count.values:9} {count.malformed:9} {count.unrepresentable:9} "
              f"{count.refused:9} {each:8.2f}  {number}/{len(chosen)}{others}", flush=True)  # fmt: skip
        for data, what in count.findings[:2]:
            print(f"    FOUND {what}\n    {data.hex()}\n    {keep(target.name, data)}")
        total += count.inputs
        failed += len(count.findings)
        watchdog.begin(f"{target.name} (encoder)")
        for what in encoders.run(target, arguments.seed, arguments.objects, watchdog.begin):
            print(f"    FOUND encoding: {what}")
            failed += 1
    names = sum(len(target.names) for target in chosen)
    print(f"{total} inputs and {arguments.objects * len(chosen)} objects for {len(chosen)} codecs under {names} names "
          f"in {time.monotonic() - started:.0f} s: {failed} findings")  # fmt: skip
    return failed


def fuzz_sessions(arguments: argparse.Namespace, watchdog: Watchdog) -> int:
    from tools.fuzz import dialogues, sessions

    failed = 0
    for title, module in (("sessions", sessions), ("start-ups", dialogues)):
        started = time.monotonic()
        count, findings = 0, 0
        share = arguments.sessions if module is sessions else arguments.sessions // 5
        for count, what in module.run(arguments.seed, share, watchdog.begin):
            if what:
                print(f"    FOUND {what}", flush=True)
                findings += 1
            elif count % 10_000 == 0:
                print(f"{title}: {count} of {share} after {time.monotonic() - started:.0f} s", flush=True)
            if findings >= 10:
                break
        print(f"{count} {title} in {time.monotonic() - started:.0f} s: {findings} findings; {module.summary()}")
        failed += findings
    return failed


def work(arguments: argparse.Namespace) -> int:
    faulthandler.enable()
    watchdog = Watchdog()
    failed = fuzz_codecs(arguments, watchdog)
    if arguments.sessions and not arguments.list:
        failed += fuzz_sessions(arguments, watchdog)
    faulthandler.cancel_dump_traceback_later()
    return 1 if failed else 0


def main() -> int:
    arguments = options()
    if arguments.worker:
        return work(arguments)
    if not arguments.list:
        print(f"seed {arguments.seed}: {arguments.inputs} inputs a codec, {arguments.sessions} sessions", flush=True)
    # In a process of its own: when that dies, somebody is left to say of what.
    status = subprocess.run([sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker"]).returncode
    if status not in (0, 1):
        name, data = Watchdog.culprit()
        print(f"the process ended with status {status} while fuzzing {name}", file=sys.stderr)
        if data:
            print(f"its last input:\n{data.hex()}\n{keep(name, data)}", file=sys.stderr)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
