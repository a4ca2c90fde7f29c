"""The `pgmagic` command: one small module for each subcommand, and what they share."""
