# SPDX-License-Identifier: MIT
from fastpg.codecs.codec import CodecHandle

def raw(format: int) -> CodecHandle: ...
