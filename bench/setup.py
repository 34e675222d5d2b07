# SPDX-License-Identifier: MIT
"""Build bench/*.pyx in place: python bench/setup.py build_ext --inplace"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = ("floor", "mark")

setup(
    name="fastpg-bench",
    packages=[],
    ext_modules=cythonize(
        [Extension(f"bench.{name}", [str(Path(f"bench/{name}.pyx"))], extra_compile_args=["-O2"]) for name in MODULES],
        compiler_directives={"language_level": 3, "freethreading_compatible": True, "cdivision": True},
    ),
)
