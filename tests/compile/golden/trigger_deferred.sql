CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true), ':pgtrigger_t_8e9bead3:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN NULL; END IF;
PERFORM 'Isbn No', 'rooms_book';
RETURN NULL;
END;
$body$;
CREATE CONSTRAINT TRIGGER "pgtrigger_t_8e9bead3"
  AFTER UPDATE ON "my Schema"."rooms_book"
  DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW
  WHEN ((OLD."title" IS DISTINCT FROM NEW."title"))
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();

DROP TRIGGER "pgtrigger_t_8e9bead3" ON "my Schema"."rooms_book";
DROP FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
