"""Alembic's entry point: runs the migrations on the connection from `results.database.connection`."""

from alembic import context

from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # on SQLite, too: the connection is in a transaction that the Python driver does not end
)
with context.begin_transaction():
    context.run_migrations()
