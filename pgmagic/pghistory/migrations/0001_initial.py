"""The shared table of contexts; what reads events has no table."""

import uuid

import django.core.serializers.json
import django.db.models.manager
from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates `pghistory_context`."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Context",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("metadata", models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
            ],
        ),
        migrations.CreateModel(
            name="Events",
            fields=[
                ("pgh_slug", models.TextField(primary_key=True, serialize=False)),
                ("pgh_model", models.CharField(max_length=64)),
                ("pgh_id", models.BigIntegerField()),
                ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
                ("pgh_label", models.TextField()),
                ("pgh_data", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ("pgh_diff", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ("pgh_context_id", models.UUIDField(null=True)),
                ("pgh_context", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ("pgh_obj_model", models.CharField(max_length=64)),
                ("pgh_obj_id", models.TextField(null=True)),
            ],
            options={"managed": False},
            managers=[("no_objects", django.db.models.manager.Manager())],
        ),
        migrations.CreateModel(
            name="MiddlewareEvents",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=("pghistory.events",),
            managers=[("no_objects", django.db.models.manager.Manager())],
        ),
    ]
