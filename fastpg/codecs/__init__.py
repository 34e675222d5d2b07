# SPDX-License-Identifier: MIT
"""Bytes <-> Python values. Importing the package registers every built-in codec."""
