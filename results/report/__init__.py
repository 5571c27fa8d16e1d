"""What a study found, from the database alone."""
