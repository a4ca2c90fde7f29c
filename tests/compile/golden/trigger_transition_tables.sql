CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true), ':pgtrigger_t_8e9bead3:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN NULL; END IF;
PERFORM 'Isbn No', 'rooms_book';
RETURN NULL;
END;
$body$;
CREATE TRIGGER "pgtrigger_t_8e9bead3_i"
  AFTER INSERT ON "my Schema"."rooms_book"
  REFERENCING NEW TABLE AS "new_rows"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
CREATE TRIGGER "pgtrigger_t_8e9bead3_u"
  AFTER UPDATE ON "my Schema"."rooms_book"
  REFERENCING OLD TABLE AS "Old Rows" NEW TABLE AS "new_rows"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
CREATE TRIGGER "pgtrigger_t_8e9bead3_d"
  AFTER DELETE ON "my Schema"."rooms_book"
  REFERENCING OLD TABLE AS "Old Rows"
  FOR EACH STATEMENT
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();

DROP TRIGGER "pgtrigger_t_8e9bead3_i" ON "my Schema"."rooms_book";
DROP TRIGGER "pgtrigger_t_8e9bead3_u" ON "my Schema"."rooms_book";
DROP TRIGGER "pgtrigger_t_8e9bead3_d" ON "my Schema"."rooms_book";
DROP FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
