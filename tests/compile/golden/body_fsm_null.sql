CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true), ':pgtrigger_t_8e9bead3:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN NEW; END IF;
RAISE EXCEPTION USING
  MESSAGE = concat('pgtrigger: Invalid transition of field "pages" from "', coalesce(OLD."pages"::text, 'NULL'), '" to "', coalesce(NEW."pages"::text, 'NULL'), '" on table rooms_book'),
  SCHEMA = TG_TABLE_SCHEMA,
  TABLE = TG_TABLE_NAME,
  CONSTRAINT = 'rooms.Book:t',
  DETAIL = (SELECT jsonb_build_object(
      'operation', lower(TG_OP),
      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN ('id')),
      'old', jsonb_object_agg(key, before.value) FILTER (WHERE shown AND TG_OP <> 'INSERT'),
      'new', jsonb_object_agg(key, after.value) FILTER (WHERE shown AND TG_OP <> 'DELETE'))::text
    FROM jsonb_each(to_jsonb(OLD.*)) AS before FULL JOIN jsonb_each(to_jsonb(NEW.*)) AS after USING (key),
      LATERAL (SELECT key IN ('pages')
        AND (TG_OP <> 'UPDATE' OR before.value IS DISTINCT FROM after.value)) AS filter(shown)),
  COLUMN = 'pages',
  HINT = CASE WHEN (OLD."pages" IS NULL) THEN 'From "NULL" it may go to "1".' WHEN (OLD."pages" IN (1)) THEN 'From "1" it may go to "2", "NULL".' ELSE 'No transition leaves this state.' END;
END;
$body$;
CREATE TRIGGER "pgtrigger_t_8e9bead3"
  BEFORE UPDATE ON "my Schema"."rooms_book"
  FOR EACH ROW
  WHEN ((OLD."pages" IS DISTINCT FROM NEW."pages")
    AND (((((OLD."pages" IS NULL AND NEW."pages" IN (1)) OR (OLD."pages" IN (1) AND (NEW."pages" IN (2) OR NEW."pages" IS NULL))))) IS NOT TRUE))
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
