"""The app of the models that `history_side.py` tracks: upstream tracks only those of installed apps."""
