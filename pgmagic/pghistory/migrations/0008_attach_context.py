"""The function by which event triggers attach the open context.

A notebook makes it in its own schema, with the tables that need it.
"""

from django.db import migrations

from pgmagic.compile.event_values import attach_routine
from pgmagic.compile.target import Target

ROUTINE = attach_routine(Target())


class Migration(migrations.Migration):
    """Creates `pgmagic_attach_context`."""

    dependencies = [("pghistory", "0007_auto_20250421_0444")]

    operations = [migrations.RunSQL(ROUTINE.create, ROUTINE.drop)]
