"""What holds while a block runs: ignored triggers, the context of history, constraint timing, schemas."""
