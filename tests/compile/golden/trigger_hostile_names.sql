CREATE OR REPLACE FUNCTION "my Schema"."pgtrigger_it's ""$body$"" %s {x} \ üxxxxxxxxxxxxxxx_bb87e080"() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $body2$
BEGIN
IF (coalesce(pg_catalog.current_setting('pgmagic.ignore', true), '') OPERATOR(pg_catalog.<>) '' AND (pg_catalog.current_setting('pgmagic.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pgmagic.ignore', true),  E':pgtrigger_it''s "$body$" %25s {x} \\ üxxxxxxxxxxxxxxx_bb87e080:') OPERATOR(pg_catalog.<>) 0)) THEN RETURN NULL; END IF;
RAISE '$body$ $body1$'; -- %
RETURN NULL;
END;
$body2$;
CREATE TRIGGER "pgtrigger_it's ""$body$"" %s {x} \ üxxxxxxxxxxxxxxx_bb87e080"
  AFTER UPDATE ON "my Schema"."rooms_book"
  FOR EACH ROW
  EXECUTE FUNCTION "my Schema"."pgtrigger_it's ""$body$"" %s {x} \ üxxxxxxxxxxxxxxx_bb87e080"();

DROP TRIGGER "pgtrigger_it's ""$body$"" %s {x} \ üxxxxxxxxxxxxxxx_bb87e080" ON "my Schema"."rooms_book";
DROP FUNCTION "my Schema"."pgtrigger_it's ""$body$"" %s {x} \ üxxxxxxxxxxxxxxx_bb87e080"();
