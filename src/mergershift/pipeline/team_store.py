"""A team's store: DVC's default remote, with what is shared in .dvc/config and what is one's own in .dvc/config.local.

One of the modules that use DVC's Python interface; `dvc` lists what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.redaction import public
from mergershift.pipeline.dvc import LOCAL_CONFIG, private_config

NAME = "team"
"""Name of the remote, unless a default one exists already."""
AWS_SETTINGS = ".dvc/aws.ini"
"""Tracked file with settings of boto for a store that is not Amazon's."""
# Since 2025 boto sends checksums that only Amazon's own store is sure to understand, and asks for them in answers.
_AWS_SETTINGS = """\
# For an S3 store that is not Amazon's: no checksums beyond those that every store understands.
[default]
request_checksum_calculation = when_required
response_checksum_validation = when_required
"""
_KINDS = "s3://BUCKET/PATH, ssh://HOST/PATH or the absolute path of a folder"


@dataclass(frozen=True)
class Store:
    """A DVC remote and its options."""

    name: str
    shared: Mapping[str, str]
    """Options in .dvc/config, which git tracks; at least ``url``."""
    own: Mapping[str, str]
    """Options in .dvc/config.local: credentials, user."""

    @property
    def url(self) -> str:
        """Address without credentials."""
        return str(self.shared["url"])

    @property
    def protocol(self) -> str:
        """DVC's name of the kind of remote; ``local`` for a folder."""
        return urlsplit(self.url).scheme or "local"

    @property
    def place(self) -> str:
        """The server, for messages."""
        if endpoint := self.shared.get("endpointurl"):
            return str(endpoint)
        parts = urlsplit(self.url)
        if self.protocol == "s3":
            return "Amazon S3"
        return f"{parts.hostname or self.url}{f':{parts.port}' if parts.port else ''}"

    def __str__(self) -> str:
        endpoint = self.shared.get("endpointurl")
        return f"{public(self.url)}{f' at {endpoint}' if endpoint else ''}"

    def with_own(self, options: Mapping[str, str]) -> Store:
        """Return the store with further options of one's own."""
        return replace(self, own={**self.own, **options})


def parse_store(url: str, endpoint: str | None, here: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the shared and the own options for the address of a store; raises UserError if it is none.

    Args:
        url: Address as the user gives it.
        endpoint: Address of an S3 server that is not Amazon's.
        here: The checkout.
    """
    parts = urlsplit(url)
    if parts.password or (parts.username and parts.scheme == "s3"):
        raise UserError(
            f"--remote {public(url)}: its user or password is visible to everybody on this machine.\n"
            "Leave it out: credentials are taken from the environment, from --credentials FILE or a question."
        )
    if endpoint is not None:
        server = urlsplit(endpoint)
        if server.scheme not in ("http", "https") or not server.hostname or server.username:
            raise UserError(
                f"--endpoint {public(endpoint)}: expected the address of an S3 server without credentials.\n"
                "Write it as https://HOST or http://HOST:PORT."
            )
        if parts.scheme != "s3":
            raise UserError(
                f"--endpoint is for a remote in S3, but --remote is {url}.\nLeave --endpoint out."
            )
    match parts.scheme:
        case "s3" if parts.netloc:
            shared = {"url": url.rstrip("/")}
            if endpoint is not None:
                shared |= {"endpointurl": endpoint.rstrip("/"), "configpath": str(here / AWS_SETTINGS)}
            return shared, {}
        case "ssh" if parts.hostname and len(parts.path) > 1:
            port = f":{parts.port}" if parts.port else ""
            own = {"user": parts.username} if parts.username else {}
            return {"url": f"ssh://{parts.hostname}{port}{parts.path.rstrip('/')}"}, own
        case "" | "file":
            return _folder(url, parts.path if parts.scheme else url, here), {}
    raise UserError(
        f"--remote {url}: expected {_KINDS}.\n"
        "For another kind run `dvc remote add --default NAME URL`, then `mergershift team check`."
    )


def _folder(given: str, path: str, here: Path) -> dict[str, str]:
    folder = Path(path).expanduser()
    if not folder.is_absolute():
        example = f"ssh://{path.replace(':', '/', 1)}" if ":" in path else str(folder.resolve())
        raise UserError(
            f"--remote {given}: expected {_KINDS}, since a teammate's checkout lies elsewhere.\n"
            f"Perhaps {example.replace('//', '/').replace(':/', '://', 1) if ':' in path else example}?"
        )
    if folder.resolve().is_relative_to(here.resolve()):
        raise UserError(
            f"--remote {given}: lies inside of this checkout, which teammates do not have.\n"
            "Give a folder that all of you can reach."
        )
    # DVC then creates folders in which the whole group may write.
    return {"url": str(folder), "shared": "group"}


def read_store(here: Path) -> Store | None:
    """Return DVC's default remote in the checkout; None if there is none."""
    from dvc.config import Config

    config = Config(str(here / ".dvc"))
    name = config["core"].get("remote") or (NAME if NAME in config["remote"] else None)
    if not name or name not in config["remote"]:
        return None
    shared = {**config.load_one("global")["remote"].get(name, {}), **_options(config, "repo", name)}
    own = _options(config, "local", name)
    if "url" not in shared:  # a remote that is all one's own
        shared = {"url": str(own["url"]), **shared}
    return Store(name, shared, own)


def _options(config: object, level: str, name: str) -> dict[str, str]:
    return dict(config.load_one(level)["remote"].get(name, {}))  # type: ignore[attr-defined]


def write_store(here: Path, store: Store, before: Store | None) -> list[str]:
    """Write the options of a store that differ from those of `before`; returns the names of the files written."""
    from dvc.config import Config
    from dvc.config_schema import RelPath

    config = Config(str(here / ".dvc"))
    written = []
    if (
        before is None
        or dict(before.shared) != dict(store.shared)
        or config["core"].get("remote") != store.name
    ):
        shared = dict(store.shared)
        if "configpath" in shared:
            if shared["configpath"] == str(here / AWS_SETTINGS):
                write_text(here / AWS_SETTINGS, _AWS_SETTINGS)
                written.append(AWS_SETTINGS)
            shared["configpath"] = RelPath(shared["configpath"])
        with config.edit("repo", validate=False) as repo:
            repo["remote"][store.name] = shared
            repo["core"]["remote"] = store.name
        written.insert(0, ".dvc/config")
    if (dict(before.own) if before else {}) != dict(store.own):
        with private_config(here), config.edit("local", validate=False) as local:
            if store.own:
                local["remote"][store.name] = dict(store.own)
            else:
                local["remote"].pop(store.name, None)
        written.append(LOCAL_CONFIG)
    return written
