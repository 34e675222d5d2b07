# SPDX-License-Identifier: MIT
"""Build bench/floor.pyx in place: python bench/setup.py build_ext --inplace"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="fastpg-bench",
    packages=[],
    ext_modules=cythonize(
        [Extension("bench.floor", [str(Path("bench/floor.pyx"))], extra_compile_args=["-O2"])],
        compiler_directives={"language_level": 3, "freethreading_compatible": True, "cdivision": True},
    ),
)
