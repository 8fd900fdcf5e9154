"""
Benchmarks: one command each, `uv run --group bench python -m benchmarks NAME`; see benchmarks/README.md.

Absolute times say more about the machine than about the code, so every result names its machine, versions, seed and
command, and compares what it can side by side in one run.
"""
