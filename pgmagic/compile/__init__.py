"""Declarations to SQL. Pure: nothing in this room connects; the server's version and the schema are inputs."""
