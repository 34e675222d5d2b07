# SPDX-License-Identifier: MIT
from fastpg.sinks.base import ListSink

class TupleSink(ListSink): ...
