CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
#variable_conflict use_column
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true), ':pgtrigger_t_8e9bead3:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN NULL; END IF;
IF TG_OP = 'UPDATE' THEN
DECLARE rejected text;
BEGIN
SELECT (SELECT jsonb_build_object(
      'operation', lower('UPDATE'),
      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN ('id')),
      'old', jsonb_object_agg(key, before.value) FILTER (WHERE shown),
      'new', jsonb_object_agg(key, after.value) FILTER (WHERE shown))::text
    FROM jsonb_each(to_jsonb(OLD.*)) AS before FULL JOIN jsonb_each(to_jsonb(NEW.*)) AS after USING (key),
      LATERAL (SELECT key IN ('id', 'title', 'Isbn No', 'pages', 'price', 'printed', 'day', 'length', 'code', 'data', 'raw', 'good', 'ratio', 'order', 'shelf_id', 'created', 'updated', 'doubled')
        AND before.value IS DISTINCT FROM after.value) AS filter(shown)) INTO rejected
  FROM (SELECT pg_catalog.row_number() OVER () AS "pgmagic_position", * FROM "old_values") AS old FULL JOIN (SELECT pg_catalog.row_number() OVER () AS "pgmagic_position", * FROM "new_values") AS new USING ("pgmagic_position")
  WHERE coalesce((OLD.good OR false), FALSE) OR "new"."pgmagic_position" IS NULL LIMIT 1;
IF FOUND THEN
IF (SELECT count(*) FROM "old_values") <> (SELECT count(*) FROM "new_values") THEN
RAISE EXCEPTION USING
  MESSAGE = 'pgtrigger: Cannot tell what became of each row of rooms_book: a BEFORE INSERT trigger kept a row out of the partition that it was to move to',
  SCHEMA = TG_TABLE_SCHEMA,
  TABLE = TG_TABLE_NAME,
  CONSTRAINT = 'rooms.Book:t',
  HINT = 'A trigger at statement level sees such a row before the statement only, and not which one it is: declare it with level=pgtrigger.Row.';
END IF;
RAISE EXCEPTION USING
  MESSAGE = 'pgtrigger: Cannot update or delete or truncate rows from rooms_book table',
  SCHEMA = TG_TABLE_SCHEMA,
  TABLE = TG_TABLE_NAME,
  CONSTRAINT = 'rooms.Book:t',
  DETAIL = rejected;
END IF;
END;
RETURN NULL;
END IF;
IF TG_OP = 'DELETE' THEN
DECLARE rejected text;
BEGIN
SELECT (SELECT jsonb_build_object(
      'operation', lower('DELETE'),
      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN ('id')),
      'old', jsonb_object_agg(key, before.value) FILTER (WHERE shown),
      'new', NULL)::text
    FROM jsonb_each(to_jsonb(OLD.*)) AS before FULL JOIN jsonb_each(to_jsonb(NEW.*)) AS after USING (key),
      LATERAL (SELECT key IN ('id', 'title', 'Isbn No', 'pages', 'price', 'printed', 'day', 'length', 'code', 'data', 'raw', 'good', 'ratio', 'order', 'shelf_id', 'created', 'updated', 'doubled')) AS filter(shown)) INTO rejected
  FROM "old_values" AS old, (SELECT) AS new
  WHERE (OLD.good OR false) LIMIT 1;
IF FOUND THEN
RAISE EXCEPTION USING
  MESSAGE = 'pgtrigger: Cannot update or delete or truncate rows from rooms_book table',
  SCHEMA = TG_TABLE_SCHEMA,
  TABLE = TG_TABLE_NAME,
  CONSTRAINT = 'rooms.Book:t',
  DETAIL = rejected;
END IF;
END;
RETURN NULL;
END IF;
IF TG_OP = 'TRUNCATE' THEN
DECLARE rejected text;
BEGIN
SELECT (SELECT jsonb_build_object(
      'operation', lower('TRUNCATE'),
      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN ('id')),
      'old', jsonb_object_agg(key, before.value) FILTER (WHERE shown),
      'new', NULL)::text
    FROM jsonb_each(to_jsonb(OLD.*)) AS before FULL JOIN jsonb_each(to_jsonb(NEW.*)) AS after USING (key),
      LATERAL (SELECT key IN ('id', 'title', 'Isbn No', 'pages', 'price', 'printed', 'day', 'length', 'code', 'data', 'raw', 'good', 'ratio', 'order', 'shelf_id', 'created', 'updated', 'doubled')) AS filter(shown)) INTO rejected
  FROM "my Schema"."rooms_book" AS old, (SELECT) AS new
  WHERE (OLD.good OR false) LIMIT 1;
IF FOUND THEN
RAISE EXCEPTION USING
  MESSAGE = 'pgtrigger: Cannot update or delete or truncate rows from rooms_book table',
  SCHEMA = TG_TABLE_SCHEMA,
  TABLE = TG_TABLE_NAME,
  CONSTRAINT = 'rooms.Book:t',
  DETAIL = rejected;
END IF;
END;
RETURN NULL;
END IF;
RETURN NULL;
END;
$body$;
CREATE TRIGGER "pgtrigger_t_8e9bead3_u"
  AFTER UPDATE ON "my Schema"."rooms_book"
  REFERENCING OLD TABLE AS "old_values" NEW TABLE AS "new_values"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
CREATE TRIGGER "pgtrigger_t_8e9bead3_d"
  AFTER DELETE ON "my Schema"."rooms_book"
  REFERENCING OLD TABLE AS "old_values"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
CREATE TRIGGER "pgtrigger_t_8e9bead3_t"
  BEFORE TRUNCATE ON "my Schema"."rooms_book"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
