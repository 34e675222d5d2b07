# SPDX-License-Identifier: MIT
"""Build sdist and wheel and check them: what is in them, and that the wheel works without Cython or a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOKE = """
import importlib, importlib.util, pathlib, fastpg
assert importlib.util.find_spec("Cython") is None, "Cython is installed here"
where = pathlib.Path(fastpg.__file__).parent
names = []
for path in sorted(where.rglob("*")):
    if path.suffix in (".so", ".pyd"):
        parts = path.relative_to(where.parent).parts
        names.append(".".join([*parts[:-1], parts[-1].split(".")[0]]))
for name in names:
    importlib.import_module(name)
from fastpg.codecs.codec import decode, encode
assert decode(23, encode(23, 7)) == 7
print(f"fastpg {fastpg.__version__}: {len(names)} compiled modules import")
"""


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def main() -> int:
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="fastpg-dist-") as name:
        scratch = Path(name)
        run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", dist)
        sdist = next(dist.glob("*.tar.gz"))
        with tarfile.open(sdist) as archive:
            inside = [member.name for member in archive.getmembers() if member.isfile()]
            for member in archive.getmembers():
                target = scratch / member.name
                if member.isfile():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = archive.extractfile(member)
                    assert source is not None
                    target.write_bytes(source.read())
        generated = {name.removesuffix(".pyx") + ".c" for name in inside if name.endswith(".pyx")} & set(inside)
        problems = [f"generated C in the sdist: {name}" for name in sorted(generated)]
        problems += [f"the sdist lacks {end}" for end in ("/LICENSE", "/fastpg/include/wire.h", "/fastpg/py.typed")
                     if not any(name.endswith(end) for name in inside)]  # fmt: skip

        # The wheel is built from the sdist, as an installer does it.
        source_dir = next(path for path in scratch.iterdir() if path.is_dir())
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", dist,
            source_dir)  # fmt: skip
        wheel = next(dist.glob("*.whl"))
        with zipfile.ZipFile(wheel) as packed:
            names = packed.namelist()
        problems += [f"source in the wheel: {name}" for name in names if name.endswith((".c", ".h", ".pyx", ".o"))]
        problems += [f"foreign file in the wheel: {name}" for name in names if not name.startswith("fastpg")]
        problems += [] if "fastpg/py.typed" in names else ["the wheel lacks py.typed"]
        if problems:
            print(*problems, sep="\n", file=sys.stderr)
            return 1

        venv.create(scratch / "venv", with_pip=True)
        python = scratch / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        run(python, "-m", "pip", "install", "--quiet", wheel, cwd=scratch)
        run(python, "-c", SMOKE, cwd=scratch)
    for path in sorted(dist.iterdir()):
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
