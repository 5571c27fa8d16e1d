"""`nas dashboard`."""

from __future__ import annotations

import click

from nas.commands.options import listed, study_options
from nas.commands.output import say
from search_space.errors import StorageError

LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command("dashboard", short_help="Look at the studies in the Optuna dashboard.")
@study_options
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Address to listen on [127.0.0.1].")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), metavar="PORT", help="Port to listen on [8080].")
def command(storage: str | None, out: str, host: str, port: int) -> None:
    """Look at the studies in the Optuna dashboard, in a browser; Ctrl-C ends it."""
    from nas.run_folder import storage_url
    from results.dashboard import serve
    from results.store import Store

    url = storage_url(storage, out)
    store = Store(url, create=False)
    names = [study.name for study in store.studies()]
    url = store.engine.url.render_as_string(hide_password=False)  # which names the driver that there is
    store.close()
    if host not in LOCAL:
        say(f"nas: warning: {host} is reachable from other machines, and the dashboard has no password", err=True)
    say(f"{len(names)} studies in {store}: {listed(names)}", err=True)
    say(f"Open http://{host}:{port}/ in a browser; Ctrl-C ends.", err=True)
    try:
        serve(url, host, port)
    except OSError as error:
        raise StorageError(f"port {port} of {host} cannot be had: {error.strerror}; choose another --port") from None
