"""`mergershift server`: a team's MLflow server with login. Neither DVC nor torch is imported."""

from __future__ import annotations

from pathlib import Path

import click

from mergershift.cli.groups import Command


@click.command(cls=Command)
@click.option(
    "--database",
    metavar="ADDRESS",
    help="Database of runs and models, without a password.  [default: MLFLOW_BACKEND_STORE_URI]",
)
@click.option(
    "--accounts",
    metavar="ADDRESS",
    help="Database of users and roles, without a password.  [default: MERGERSHIFT_ACCOUNTS_URI, or beside the other]",
)
@click.option(
    "--artifacts",
    metavar="FOLDER|s3://...",
    help="Where files of runs and models are kept.  [default: MLFLOW_ARTIFACTS_DESTINATION]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option(
    "--allowed-hosts",
    metavar="HOST,...",
    help="Names by which people reach the server, in addition to its own.  [default: MLFLOW_SERVER_ALLOWED_HOSTS]",
)
@click.option("--static-prefix", metavar="/PATH", help="Path under which a proxy serves the pages.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of processes that answer.  [default: 1 for SQLite, otherwise 2 to 4]",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File with the variables, as lines NAME=VALUE; only its owner may read it.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write such a file with random passwords to FOLDER, then stop.",
)
@click.option("--systemd", is_flag=True, help="Print a unit file for systemd with these options, then stop.")
@click.option(
    "--upgrade", is_flag=True, help="Back up the databases, bring their schemas up to date, then stop."
)
@click.option(
    "--backups", type=click.Path(path_type=Path), default=Path(), metavar="FOLDER", help="For --upgrade."
)
@click.option("--no-backup", is_flag=True, help="With --upgrade: make no backup.")
def server(
    database: str | None,
    accounts: str | None,
    artifacts: str | None,
    host: str,
    port: int,
    allowed_hosts: str | None,
    static_prefix: str | None,
    workers: int | None,
    settings: Path | None,
    init: Path | None,
    systemd: bool,
    upgrade: bool,
    backups: Path,
    no_backup: bool,
) -> None:
    """Run a team's MLflow server with login, on a PostgreSQL or SQLite database.

    \b
    For instance:
      mergershift server --init /srv/mergershift
      mergershift server --settings /srv/mergershift/server.env --host 0.0.0.0

    It runs in the foreground until Ctrl-C or SIGTERM. Its secrets come from the environment or from the file of
    --settings, never from a default: MLFLOW_AUTH_ADMIN_PASSWORD and MLFLOW_FLASK_SERVER_SECRET_KEY.
    """  # noqa: D301
    from dataclasses import replace

    from mergershift.tracking.mlflow_server import Serving, host_names
    from mergershift.tracking.server_settings import read_settings, write_settings

    if init is not None:
        path = write_settings(init)
        click.echo(f"{path}: written, readable by you alone.\nStart: mergershift server --settings {path}")
        return
    names = host_names(allowed_hosts)
    serving = Serving(host, port, names, static_prefix)
    if systemd:
        from mergershift.tracking.systemd import unit_file

        given = {
            "--database": database,
            "--accounts": accounts,
            "--artifacts": artifacts,
            "--allowed-hosts": ",".join(names) or None,
            "--static-prefix": static_prefix,
            "--workers": workers,
        }
        options = {name: str(value) for name, value in given.items() if value is not None}
        click.echo(unit_file(serving, settings, options), nl=False)
        return
    found = read_settings(
        settings, database=database, accounts=accounts, artifacts=artifacts, allowed_hosts=names
    )
    if upgrade:
        from mergershift.tracking.account_database import upgrade_databases

        for line in upgrade_databases(found, None if no_backup else backups):
            click.echo(line)
        return
    from mergershift.tracking.team_server import sensible_workers, serve_team

    serve_team(
        found,
        replace(serving, allowed_hosts=found.allowed_hosts, workers=workers or sensible_workers(found)),
    )
