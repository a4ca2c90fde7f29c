"""`check`, as notebooks import it: the check of an exercise."""

from pgmagic.trial.exercise import check

__all__ = ["check"]
