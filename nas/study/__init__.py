"""One study: opening it, searching, and its files."""
