"""The function that triggers call which a project's migrations install as django-pghistory wrote them.

Its name is upstream's, whose migration of this name makes it. It also reads upstream's settings, so that it serves a
project that goes back. A function that is there already is kept.
"""

from django.db import migrations

CREATE = """
DO $do$ BEGIN
IF to_regprocedure('_pgh_attach_context()') IS NULL THEN
  CREATE FUNCTION _pgh_attach_context() RETURNS uuid LANGUAGE plpgsql AS $body$
DECLARE
  open_id uuid := coalesce(
    nullif(current_setting('pgmagic.context_id', true), ''), nullif(current_setting('pghistory.context_id', true), '')
  )::uuid;
  open_metadata jsonb := coalesce(
    nullif(current_setting('pgmagic.context_metadata', true), ''),
    nullif(current_setting('pghistory.context_metadata', true), ''), '{}'
  )::jsonb;
BEGIN
  IF open_id IS NOT NULL THEN
    INSERT INTO pghistory_context AS known (id, created_at, updated_at, metadata)
    VALUES (open_id, now(), now(), open_metadata)
    ON CONFLICT (id) DO UPDATE SET metadata = EXCLUDED.metadata, updated_at = EXCLUDED.updated_at
      WHERE known.metadata IS DISTINCT FROM EXCLUDED.metadata;
  END IF;
  RETURN open_id;
END $body$;
END IF;
END $do$
"""
DROP = "DROP FUNCTION IF EXISTS _pgh_attach_context()"


class Migration(migrations.Migration):
    """Creates `_pgh_attach_context` where it does not exist."""

    dependencies = [("pghistory", "0003_auto_20201023_1636")]
    operations = [migrations.RunSQL(CREATE, DROP)]
