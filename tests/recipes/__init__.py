"""What people build with triggers: each recipe is declared, installed and tried out on a live database."""
