"""Nothing to do; migrations that a project wrote with django-pghistory depend on this name."""

from django.db import migrations


class Migration(migrations.Migration):
    """Changes nothing."""

    dependencies = [("pghistory", "0002_aggregateevent")]
    operations = []
