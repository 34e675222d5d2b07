# SPDX-License-Identifier: MIT
"""Benchmarks: what fastpg costs, beside a peer and beside the floor; see bench/README.md."""
