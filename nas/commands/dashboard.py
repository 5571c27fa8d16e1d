"""`nas dashboard`."""

from __future__ import annotations

import click

from nas.commands.options import listed, study_options
from nas.commands.output import say


@click.command("dashboard", short_help="Show the studies in the Optuna dashboard.")
@study_options
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Address to listen on [127.0.0.1].")
@click.option(
    "--port",
    default=8080,
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port, 0 for a free one [8080].",
)
def command(storage: str | None, out: str, host: str, port: int) -> None:
    """Show the studies in the Optuna dashboard, in a browser; Ctrl-C ends it.

    \b
    nas dashboard
    nas dashboard --storage sqlite:///results.db --port 8081

    If the curves of a study have more than 20,000 points, the dashboard draws those of 200 trials: the best, the newest
    and the unfinished ones. All other figures cover all trials.
    """  # noqa: D301 (click reads the backspace)
    from nas.study.files import storage_url
    from results.dashboard import Dashboard
    from results.store.store import Store

    url = storage_url(storage, out)
    store = Store(url, create=False)
    names = [study.name for study in store.studies()]
    store.close()
    server = Dashboard(url, host, port)
    try:
        if not server.is_local:
            reached = f"{host or server.ip} is reachable from other machines"
            say(f"nas: warning: {reached}, and the dashboard has no password", err=True)
        say(f"{len(names)} studies in {store}: {listed(names)}", err=True)
        say(f"Open {server.url} in a browser; Ctrl-C ends.", err=True)
        server.serve_forever()
    finally:
        server.server_close()
