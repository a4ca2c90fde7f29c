"""Where upstream puts the event model that it makes."""
