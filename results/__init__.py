"""Stored results: the SQL database, reports on it, the dashboard, and exported bundles."""
