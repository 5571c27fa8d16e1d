"""The migrations, append-only, oldest first."""
