"""`mergershift team`: connect a checkout to a team's server and store, and check both.

Nothing heavy is imported until a command runs: `setup` and `user` also run where neither DVC nor torch is installed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from mergershift.cli.groups import OrderedGroup
from mergershift.core.errors import UserError

if TYPE_CHECKING:
    from mergershift.pipeline.team_check import Check


@click.group(cls=OrderedGroup)
def team() -> None:
    """Connect this checkout to a team's server and store, and check both."""


@team.command()
@click.option(
    "--remote",
    metavar="ADDRESS",
    help="Store of data and results: s3://BUCKET/PATH, ssh://HOST/PATH or /FOLDER.",
)
@click.option("--endpoint", metavar="URL", help="Address of an S3 server that is not Amazon's.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="/FOLDER",
    help="Folder of this machine in which several checkouts share their results.",
)
@click.option("--tracking", metavar="URL", help="Address of the MLflow server.")
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="File with keys and passwords: lines of NAME=VALUE, as in the environment.",
)
@click.option("--replace", is_flag=True, help="Replace another store, server or login that is set.")
def init(
    remote: str | None,
    endpoint: str | None,
    cache: Path | None,
    tracking: str | None,
    credentials: Path | None,
    replace: bool,
) -> None:
    """Set and check what a team shares.

    \b
    The first person:
      mergershift team init --remote s3://galaxies/mergers --endpoint https://s3.example.org \\
        --tracking https://mlflow.example.org
    Everybody else, after git clone:
      mergershift team init

    Addresses are written to .dvc/config and conf/tracking/, which are to be committed. Keys and passwords are taken
    from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, from
    --credentials, or asked for, and kept in .dvc/config.local and ~/.mlflow/credentials. A part is set only if it
    passes its check.
    """  # noqa: D301
    from mergershift.pipeline import team as teams

    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    wish = teams.Wish(remote, endpoint, cache, tracking, credentials, replace)
    checks = _print(teams.init(wish, ask))
    tracked = [name for check in checks for name in check.written if name.startswith((".dvc/", "conf/"))]
    tracked = [name for name in dict.fromkeys(tracked) if name != ".dvc/config.local"]
    if tracked:
        click.echo(
            f"\nCommit {', '.join(tracked)}: teammates then need `git clone` and `mergershift team init`."
        )
    _exit(checks)


@team.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each part.")
def check(as_json: bool) -> None:
    """Check store, cache, tracking server and secrets by a round trip each.

    Exits with 1 if one of them cannot be used, and prints what is wrong and how to fix it.
    """
    from mergershift.pipeline import team as teams

    _exit(_print(teams.check(interactive=sys.stdin.isatty()), as_json=as_json))


@team.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def setup(overrides: tuple[str, ...]) -> None:
    """Prepare the team's server: experiment, registered models and roles.

    It needs the administrator's credentials (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD) and creates only
    what is missing. KEY=VALUE sets other names: tracking.experiment=NAME tracking.model=NAME
    """
    from mergershift.core.redaction import public
    from mergershift.registry.pages import model_description
    from mergershift.tracking.accounts import Accounts
    from mergershift.tracking.roles import CANDIDATES

    address, experiment, model = _tracking(overrides)
    names = (model, f"{model}{CANDIDATES}")
    shown = public(address)
    made = Accounts(address).prepare(
        experiment, model, {name: model_description(model, name, shown) for name in names}
    )
    click.echo(f"{shown} is prepared; {'new: ' + ', '.join(made) if made else 'nothing was missing'}.")


@team.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["reader", "editor", "maintainer"]), help="The role of this user.")
@click.option("--new-password", is_flag=True, help="Give a user who exists a new random password.")
@click.option(
    "--password-file",
    type=click.File(),
    metavar="FILE",
    help="Take the password from the first line of FILE, or of standard input if it is -.",
)
@click.option("--remove", is_flag=True, help="Remove the user; the runs stay.")
@click.option(
    "--address",
    envvar="MERGERSHIFT_SERVER_ADDRESS",
    help="Address by which this person reaches the server, if it is another one than yours.",
)
def user(
    name: str,
    role: str | None,
    new_password: bool,
    password_file: IO[str] | None,
    remove: bool,
    address: str | None,
) -> None:
    """Add a user to the team's server, or change one, and print what this person types.

    A reader sees everything and changes nothing; an editor logs runs and registers candidates; a maintainer in
    addition chooses the champion. It needs the administrator's credentials (MLFLOW_TRACKING_USERNAME,
    MLFLOW_TRACKING_PASSWORD). A random password is printed once.
    """
    if remove and (role or new_password or password_file):
        raise click.UsageError("--remove takes no other option.")
    if not (remove or role or new_password or password_file):
        raise click.UsageError(
            "say what to change: --role ROLE, --new-password, --password-file or --remove."
        )
    if new_password and password_file:
        raise click.UsageError(
            "--new-password makes a random one, --password-file gives one: take one of them."
        )

    from mergershift.core.redaction import public
    from mergershift.tracking.accounts import Accounts

    server = _tracking(())[0]
    accounts = Accounts(server)
    if remove:
        accounts.remove(name)
        click.echo(f"{name} is removed from {public(server)}.")
        return
    given = password_file.readline().rstrip("\r\n") if password_file else None
    account = accounts.put(name, role, given, renew=new_password)
    held = (
        f"{'a' if account.role in ('reader', 'maintainer') else 'an'} {account.role}"
        if account.role
        else "without a role"
    )
    click.echo(f"{name} is {'now ' if role else ''}{held} on {public(server)}.")
    if account.password is None:
        return
    shown = "<password>" if given else account.password
    click.echo("What this person types" + ("" if given else "; the password is shown only this once") + ":")
    click.echo(f"  export MLFLOW_TRACKING_URI={address or public(server)}")
    click.echo(
        f"  export MLFLOW_TRACKING_USERNAME={shlex.quote(name)} MLFLOW_TRACKING_PASSWORD={shlex.quote(shown)}"
    )
    click.echo("  mergershift team init    # in a clone; keeps them in ~/.mlflow/credentials")


def _tracking(overrides: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the server's address and the names of experiment and model; outside a checkout, the defaults."""
    from mergershift.core.checkout import enclosing
    from mergershift.tracking.server import tracking_address

    if enclosing(Path.cwd()) is not None:
        from mergershift.config import compose

        tracking = compose(overrides).tracking
        return tracking_address(tracking.uri), tracking.experiment, tracking.model
    names = {"tracking.experiment": "mergershift", "tracking.model": "mergershift"}
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in names or not value:
            raise UserError(
                f"{override}: outside a checkout, only {' and '.join(names)} can be set.\n"
                "Change into a checkout for the others."
            )
        names[key] = value
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        raise UserError(
            "MLFLOW_TRACKING_URI is not set.\nSet it to the address of the team's server, or change into a checkout."
        )
    return address, names["tracking.experiment"], names["tracking.model"]


def _print(checks: Iterable[Check], *, as_json: bool = False) -> list[Check]:
    """Print each check as soon as it is done."""
    import json
    from dataclasses import asdict

    done = []
    for found in checks:
        done.append(found)
        click.echo(json.dumps(asdict(found), ensure_ascii=False) if as_json else "\n".join(found.lines))
    return done


def _exit(checks: Iterable[Check]) -> None:
    if any(found.ok is False for found in checks):
        click.get_current_context().exit(1)


def _ask(question: str, hidden: bool) -> str:
    return str(click.prompt(question, hide_input=hidden, err=True))
