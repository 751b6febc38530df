"""How fast, beside what: `python -m benchmarks`.

Each subject runs in a process of its own, rounds of all subjects are interleaved, and what counts
is the ratio to a baseline of the same run: the machine's speed drifts, the ratio much less.
"""
