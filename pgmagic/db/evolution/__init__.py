"""Tables that change: models that are declared anew in a notebook, and migrations in a project, with their triggers."""
