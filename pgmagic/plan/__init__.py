"""What should be in the database, what is, and the steps from one to the other. Nothing here touches anything."""
