"""What would happen: changes are tried in a live database, each in a savepoint, and nothing is kept.

- `attempts`: the transaction that is rolled back, and what an attempt found;
- `examples`, `sample_values`, `concerned`: a row to try, and a change of it that a rule concerns;
- `bypasses`, `ways`, `bypass_frame`: every way around a rule;
- `state_matrix`, `matrix_frame`: every pair of states of a field, as a matrix and a diagram;
- `exercise`: the check of a notebook's exercise.
"""
