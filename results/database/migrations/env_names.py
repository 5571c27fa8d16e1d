"""Names shared by the migrations and their caller."""

VERSION_TABLE = "nas_alembic_version"
