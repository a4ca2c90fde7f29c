CREATE TABLE "rooms_novel" ("book_ptr_id" bigint NOT NULL PRIMARY KEY, "plot" text NOT NULL);

ALTER TABLE "rooms_novel" ADD CONSTRAINT "rooms_novel_book_ptr_id_36668b5c_fk_rooms_book_id" FOREIGN KEY ("book_ptr_id") REFERENCES "rooms_book" ("id") DEFERRABLE INITIALLY DEFERRED;
