# SPDX-License-Identifier: MIT
"""Value types of the wire protocol."""
