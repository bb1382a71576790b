"""Credentials of a team's store and server: where they are taken from, and that git tracks none of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mergershift.core.checkout import git
from mergershift.core.errors import UserError
from mergershift.core.reading import read_text
from mergershift.pipeline.dvc import LOCAL_CONFIG
from mergershift.pipeline.team_check import Check
from mergershift.pipeline.team_store import Store
from mergershift.tracking import login

Ask = Callable[[str, bool], str]
"""Asks a question on the terminal; the second argument says whether the answer is hidden."""
S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
}
"""Environment variable -> option of a DVC remote in S3."""
NAMES = (*S3_KEYS, login.USER, login.PASSWORD)
"""Names that a file of credentials may give."""
SECRET_OPTIONS = (
    "secret_access_key",
    "session_token",
    "password",
    "passphrase",
    "sse_customer_key",
    "account_key",
    "connection_string",
    "sas_token",
    "client_secret",
    "oss_key_secret",
    "gdrive_client_secret",
    "token",
    "custom_auth_header",
)
"""Options of DVC's remotes that are secret."""
_SHORTEST = 8
"""Number of letters below which a secret is not searched for: it would be found everywhere."""
_LINE = re.compile(r"(?:export\s+)?([A-Z_]+)\s*=\s*(.*)")


def read_credentials(path: Path) -> dict[str, str]:
    """Read a file of lines NAME=VALUE; raises UserError for other names, and if other people can read the file."""
    example = f"Write it as lines of NAME=VALUE, with the names {', '.join(NAMES)}."
    if path.exists() and path.stat().st_mode & 0o077:
        raise UserError(f"{path}: other users of this machine can read it.\nRun `chmod 600 {path}`.")
    found = {}
    for number, line in enumerate(read_text(path, example).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] not in NAMES:
            raise UserError(f"{path}, line {number}: not a line NAME=VALUE with a known name.\n{example}")
        value = match[2]
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[match[1]] = value[1:-1] if quoted else value
    return found


def s3_options(names: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a remote for the access key among some variables; empty if it is not complete."""
    # A key that comes with a session token is valid for hours only: it stays in the environment.
    if not all(names.get(name) for name in S3_KEYS) or names.get("AWS_SESSION_TOKEN"):
        return {}
    return {option: names[name] for name, option in S3_KEYS.items()}


def login_of(names: Mapping[str, str]) -> login.Login | None:
    """Return MLflow's login among some variables; None if it is not complete."""
    user, password = names.get(login.USER), names.get(login.PASSWORD)
    return login.Login(user, password) if user and password else None


def require_no_secret(store: Store | None) -> None:
    """Raise UserError if .dvc/config, which git tracks, contains a secret."""
    if store is None:
        return
    options = [name for name in SECRET_OPTIONS if name in store.shared]
    if options or urlsplit(store.url).password:
        what = options[0] if options else "a password in its address"
        raise UserError(
            f".dvc/config: the remote '{store.name}' has {what}, and git tracks that file.\n"
            "Move it to .dvc/config.local (`dvc remote modify --local`), and have it changed, since everybody with "
            "the repository has it."
        )


def check_secrets(here: Path, store: Store | None, check: Check) -> None:
    """Check that git tracks no credentials, and that nobody else on this machine can read them."""
    try:
        require_no_secret(store)
    except UserError as error:
        found, _, remedy = str(error).partition("\n")
        check.fail(found.removesuffix("."), remedy.removesuffix("."))
        return
    if git("rev-parse", "--git-dir", folder=here) is None:
        check.ok, check.found = True, "this checkout is not under git"
        return
    if git("ls-files", "--error-unmatch", LOCAL_CONFIG, folder=here) is not None:
        check.fail(
            f"git tracks {LOCAL_CONFIG}", f"run `git rm --cached {LOCAL_CONFIG}`, and have its keys changed"
        )
        return
    if git("check-ignore", "--quiet", LOCAL_CONFIG, folder=here) is None:
        check.fail(f"git does not ignore {LOCAL_CONFIG}", "add the line `/config.local` to .dvc/.gitignore")
        return
    files = _tracked_with(here, _known(store))
    if files:
        check.fail(
            f"one of your passwords or keys is in {files[0]}, which git tracks",
            "take it out of the file, and have it changed, since everybody with the repository has it",
        )
        return
    for path in (here / LOCAL_CONFIG, login.credentials_file()):
        if path.exists() and path.stat().st_mode & 0o077:
            check.fail(f"{path}: other users of this machine can read it", f"run `chmod 600 {path}`")
            return
    check.ok, check.found = (
        True,
        f"git ignores {LOCAL_CONFIG}, and no tracked file has a password or key of yours",
    )


def _known(store: Store | None) -> set[str]:
    """Return the secrets that this user has, as far as they are known here."""
    stored = login.from_file()
    secrets: Iterable[str | None] = (
        *(store.own.get(name) for name in SECRET_OPTIONS if store),
        *(os.environ.get(name) for name in ("AWS_SECRET_ACCESS_KEY", login.PASSWORD, login.TOKEN)),
        stored.password if stored else None,
    )
    return {str(value) for value in secrets if value and len(str(value)) >= _SHORTEST}


def _tracked_with(here: Path, secrets: set[str]) -> list[str]:
    """Return the tracked files that contain one of the secrets, which are handed to git by a pipe: nobody sees them."""
    if not secrets:
        return []
    done = subprocess.run(
        ["git", "grep", "--files-with-matches", "--fixed-strings", "-I", "-f", "-"],
        input="\n".join(sorted(secrets)),
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()
