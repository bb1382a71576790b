"""`mergershift team init` and `team check`: a team's store, shared cache and tracking server, and checks of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergershift.config import compose
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.redaction import public
from mergershift.pipeline.dvc import quiet_dvc
from mergershift.pipeline.team_cache import OWN, check_cache, parse_cache, read_cache, use_cache
from mergershift.pipeline.team_check import Check, checking
from mergershift.pipeline.team_faults import KEYS
from mergershift.pipeline.team_round_trip import check_store
from mergershift.pipeline.team_secrets import (
    Ask,
    check_secrets,
    read_credentials,
    require_no_secret,
    s3_options,
)
from mergershift.pipeline.team_store import NAME, Store, parse_store, read_store, write_store
from mergershift.pipeline.team_tracking import (
    VARIABLE,
    check_tracking,
    foreign_variable,
    parse_address,
    read_address,
    set_tracking,
    write_address,
)
from mergershift.tracking import tracking_address
from mergershift.tracking.answers import is_server

_UNKNOWN = UserError(
    "This checkout knows no team: neither .dvc/config nor conf/tracking/ names a store or a server.\n"
    "Run `mergershift team init --remote s3://BUCKET/PATH --tracking https://HOST`, or ask whoever did to commit both."
)


@dataclass(frozen=True)
class Wish:
    """What `mergershift team init` is to set; None leaves a part as it is."""

    remote: str | None = None
    """Address of the store."""
    endpoint: str | None = None
    """Address of an S3 server that is not Amazon's."""
    cache: Path | None = None
    """Folder of the shared cache."""
    tracking: str | None = None
    """Address of the tracking server."""
    credentials: Path | None = None
    """File with credentials."""
    replace: bool = False
    """Whether another store, server or login may be replaced."""


def init(wish: Wish, ask: Ask | None = None) -> Iterator[Check]:
    """Set and check what a team shares; a part is set only if its check succeeds, and each is yielded when it is done.

    Args:
        wish: What to set.
        ask: Asks on the terminal for credentials that are missing; None if there is no terminal.

    Raises UserError, before anything is set, for addresses that make no sense or differ from those that are set.
    """
    here = root()
    with quiet_dvc():
        before = read_store(here)
        require_no_secret(before)
        store, address, folder = _store(wish, before, here), _address(wish, here), None
        if wish.cache is not None:
            folder = parse_cache(wish.cache, here)
        if store is None and address is None and folder is None:
            raise _UNKNOWN
        given = read_credentials(wish.credentials) if wish.credentials else {}
        if store is not None:
            with checking("store") as check:
                store = _set_store(here, store, before, given, ask, check)
            yield check
        if folder is not None or read_cache(here) != here / OWN:
            with checking("cache") as check:
                _set_cache(here, folder, check)
            yield check
        if address is not None:
            with checking("tracking") as check:
                _set_address(here, address, wish, given, ask, check)
            yield check
        with checking("secrets") as check:
            check_secrets(here, read_store(here), check)
        yield check


def check(*, interactive: bool = False) -> Iterator[Check]:
    """Check what this checkout shares with a team; each part is yielded when it is done.

    Raises UserError if it shares nothing.
    """
    here = root()
    with quiet_dvc():
        store = read_store(here)
        tracked = compose().tracking
        address = tracking_address(tracked.uri)
        if store is None and not is_server(address):
            raise _UNKNOWN
        with checking("store") as found:
            if store is None:
                found.found = "no DVC remote is set"
                found.remedy = "`mergershift team init --remote s3://BUCKET/PATH` sets one"
            else:
                check_store(store, found, interactive=interactive)
        yield found
        with checking("cache") as found:
            check_cache(read_cache(here), here, found)
        yield found
        with checking("tracking") as found:
            team = read_address(here)
            if is_server(address) or team is not None:
                check_tracking(address, tracked.experiment, found)
                note = foreign_variable(team) if team else None
                found.notes += [note] if note else []
            else:
                found.found = f"runs are recorded in {public(address)}"
                found.remedy = "`mergershift team init --tracking https://HOST` sets a team's server"
        yield found
        with checking("secrets") as found:
            check_secrets(here, store, found)
        yield found


def _store(wish: Wish, before: Store | None, here: Path) -> Store | None:
    """Return the store to set; raises UserError if it would replace another one without --replace."""
    if wish.remote is None:
        if wish.endpoint is None or before is None:
            if wish.endpoint is not None:
                raise UserError("--endpoint is for a remote in S3.\nAdd --remote s3://BUCKET/PATH.")
            return before
        wish = replace(wish, remote=before.url)
    assert wish.remote is not None
    shared, own = parse_store(wish.remote, wish.endpoint, here)
    if before is None:
        return Store(NAME, shared, own)
    differs = [key for key, value in shared.items() if before.shared.get(key, value) != value]
    if differs and not wish.replace:
        key = differs[0]
        raise UserError(
            f"The DVC remote '{before.name}' is set already, with {key} {public(str(before.shared[key]))}, "
            f"not {public(shared[key])}.\n"
            "To use the new one from now on, add --replace; results that only the former has have to be pushed again."
        )
    if differs:
        return Store(before.name, shared, own)
    return Store(before.name, {**before.shared, **shared}, {**before.own, **own})


def _address(wish: Wish, here: Path) -> str | None:
    """Return the address to set; raises UserError if it would replace another one without --replace."""
    known = read_address(here)
    variable = os.environ.get(VARIABLE, "")
    given = wish.tracking or (variable if known is None and is_server(variable) else None)
    if given is None:
        return known
    address = parse_address(given)
    if known is not None and known != address and not wish.replace:
        raise UserError(
            f"The team's tracking server is set already, to {public(known)}, not {address}.\n"
            "To use the new one from now on, add --replace; `mergershift sync` then publishes your trainings there."
        )
    return address


def _set_store(
    here: Path, store: Store, before: Store | None, given: Mapping[str, str], ask: Ask | None, check: Check
) -> Store:
    """Check the store with the credentials at hand, and write it if they do; returns the store that was checked."""
    fault = None
    for candidate in _with_keys(store, given):
        store = candidate
        fault = check_store(store, check, interactive=ask is not None)
        if fault is None or not fault.credentials:
            break
    if fault is not None and fault.credentials and store.protocol == "s3":
        if ask is not None:
            key = ask(f"Access key (ID) for {store}", False)
            keys = {"access_key_id": key, "secret_access_key": ask("Secret key", True)}
            store = store.with_own(keys)
            fault = check_store(store, check, interactive=True)
        else:
            check.remedy = (
                f"set {KEYS} in the environment, or give them in a file with `--credentials FILE`, "
                "and run the command again"
            )
    if fault is None:
        check.written += write_store(here, store, before)
    return store


def _with_keys(store: Store, given: Mapping[str, str]) -> Iterator[Store]:
    """Yield the store with each of the keys to try: from a file, its own, from the environment, of ~/.aws."""
    if store.protocol != "s3":
        yield store
        return
    if options := s3_options(given):
        yield store.with_own(options)
        return
    if "secret_access_key" in store.own:
        yield store
    if options := s3_options(os.environ):
        yield store.with_own(options)
    elif "secret_access_key" not in store.own:
        yield store


def _set_cache(here: Path, folder: Path | None, check: Check) -> None:
    check_cache(folder or read_cache(here), here, check)
    if check.ok and folder is not None:
        notes = use_cache(here, folder)
        check.notes += notes


def _set_address(
    here: Path, address: str, wish: Wish, given: Mapping[str, str], ask: Ask | None, check: Check
) -> None:
    usable = set_tracking(address, compose().tracking.experiment, given, ask, check, replace=wish.replace)
    if usable and read_address(here) != address:
        check.written.insert(0, write_address(here, address))
    if note := foreign_variable(address):
        check.notes.append(note)
