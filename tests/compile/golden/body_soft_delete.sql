CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true), ':pgtrigger_t_8e9bead3:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN OLD; END IF;
UPDATE "my Schema"."rooms_book" AS target SET "Isbn No" = 'o''k' WHERE target."id" = OLD."id";
RETURN NULL;
END;
$body$;
CREATE TRIGGER "pgtrigger_t_8e9bead3"
  BEFORE DELETE ON "my Schema"."rooms_book"
  FOR EACH ROW
  EXECUTE FUNCTION "my Schema"."pgtrigger_t_8e9bead3"();
