"""Names that both the migrations and their caller need."""

VERSION_TABLE = "nas_alembic_version"
