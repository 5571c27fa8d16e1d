"""The SQL database: connection, schema, migrations, and checks."""
