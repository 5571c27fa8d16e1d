"""Studies in the database: reading them, and writing to them as a driver."""
