"""Studies in the database: what is read of them, and how a driver writes to them."""
