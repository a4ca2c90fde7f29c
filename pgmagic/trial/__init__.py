"""Trying things out in a live database: each attempt in a savepoint, and nothing of it is kept.

- `attempts`: the transaction that is given up, and what an attempt came to;
- `examples`: a row to try things on, where a table has none;
- `transitions`: every pair of states of a field;
- `bypasses`: every way around a rule.
"""
