"""The only room that executes SQL: connections, the catalog, applying a plan, and what holds while a block runs."""
