"""What a study has found, from the database alone."""
