# SPDX-License-Identifier: MIT
"""with_sqlalchemy.py over the dialect postgresql+fastpg, as SQLAlchemy finds it when fastpg is installed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from sqlalchemy.dialects import registry

registry.register("postgresql.fastpg", "fastpg.sqlalchemy", "dialect")
sys.argv[2:] = ["fastpg"]
runpy.run_path(str(Path(__file__).with_name("with_sqlalchemy.py")), run_name="__main__")
