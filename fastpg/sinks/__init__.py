# SPDX-License-Identifier: MIT
"""Row sinks: what becomes of the rows of an operation. One file an output format."""
