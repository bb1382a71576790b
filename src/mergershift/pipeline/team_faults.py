"""What a DVC remote's library says when the remote cannot be used, put into a fault and a remedy.

The libraries are those of DVC's plugins: aiobotocore for S3, asyncssh for SSH. Their exceptions are recognised by name
and by the codes of S3, since a plugin need not be installed.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass

from mergershift.core.errors import chain, first_line

PLUGINS = {"s3": "s3", "ssh": "ssh"}
"""Protocol of a remote -> the extra of mergershift that installs DVC's plugin for it."""
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
OPEN_TO_THE_GROUP = "have its owner run `chgrp -R TEAM FOLDER && chmod -R g+rwX FOLDER && chmod g+s FOLDER`"
NO_SUCH_FOLDER = "create it there once, or mount the file system that it is on"


@dataclass(frozen=True)
class Fault:
    """Why a remote cannot be used, in two clauses without final full stop."""

    what: str
    remedy: str
    credentials: bool = False
    """Whether other credentials would help, so that it makes sense to ask for them."""


# Codes of S3's answers: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_S3 = {
    "InvalidAccessKeyId": Fault("the store does not know this access key", f"correct {KEYS}", True),
    "SignatureDoesNotMatch": Fault(
        "the secret key does not belong to this access key", f"correct {KEYS}", True
    ),
    "ExpiredToken": Fault("the session token has expired", "log in again and export the new token", True),
    "InvalidToken": Fault("the session token is not valid", "log in again and export the new token", True),
    "NoSuchBucket": Fault(
        "there is no such bucket", "correct the address, or have the store's administrator create the bucket"
    ),
    "PermanentRedirect": Fault(
        "the bucket is in another region",
        "set it with `dvc remote modify NAME region REGION`, and commit .dvc/config",
    ),
    "RequestTimeTooSkewed": Fault(
        "this machine's clock differs from the store's by more than 15 minutes",
        "set this machine's clock (chrony, ntpd, `timedatectl set-ntp true`)",
    ),
    "AccessDenied": Fault(
        "this key may not write there",
        "have the store's administrator permit reading, writing, listing and deleting below this address; reading "
        "alone is enough for `mergershift repro --pull`",
    ),
    "SlowDown": Fault("the store has too many requests", "try again in a minute"),
    "XAmzContentSHA256Mismatch": Fault(
        "the store does not understand the checksums of this version of boto",
        "give --endpoint again, which turns them off",
    ),
}
_S3["NotImplemented"] = _S3["InvalidRequest"] = _S3["XAmzContentSHA256Mismatch"]


def fault_of(error: BaseException, protocol: str, where: str) -> Fault:
    """Say why the remote at `where` cannot be used.

    Args:
        error: Exception of DVC or of the library of the remote.
        protocol: DVC's name of the kind of remote: ``s3``, ``ssh``, ``local``.
        where: Host, endpoint or folder, as messages name it.
    """
    causes = list(chain(error))
    found = (
        _missing_plugin(causes, protocol)
        or (_of_s3(causes) if protocol == "s3" else None)
        or (_of_ssh(causes, where) if protocol == "ssh" else None)
        or _of_network(causes, protocol, where)
        or _of_files(causes, protocol, where)
    )
    return found or Fault(first_line(error), "fix that, or correct the address with --replace")


def _missing_plugin(causes: list[BaseException], protocol: str) -> Fault | None:
    if any(type(error).__name__ == "RemoteMissingDepsError" for error in causes):
        extra = PLUGINS.get(protocol)
        command = f'pip install "mergershift[{extra}]"' if extra else f"pip install dvc-{protocol}"
        return Fault(f"DVC's plugin for {protocol}:// is not installed", f"install it with `{command}`")
    return None


def _of_s3(causes: list[BaseException]) -> Fault | None:
    for error in causes:
        answer = getattr(error, "response", None)
        code = str(answer.get("Error", {}).get("Code")) if isinstance(answer, dict) else None
        if code in _S3:
            return _S3[code]
        if code in ("401", "403"):  # an answer without a body
            return Fault("the store refuses this key", f"correct {KEYS}", True)
        name = type(error).__name__
        if name in ("NoCredentialsError", "PartialCredentialsError"):
            return Fault("no access key is known", f"set {KEYS}", True)
        if name == "ProfileNotFound":
            return Fault(first_line(error), "correct AWS_PROFILE or `profile` of the remote")
    return None


def _of_ssh(causes: list[BaseException], where: str) -> Fault | None:
    for error in causes:
        name = type(error).__name__
        if name == "HostKeyNotVerifiable":
            return Fault(f"the key of {where} is not trusted", "compare it by `ssh` and update known_hosts")
        if name == "PermissionDenied" and type(error).__module__.startswith("asyncssh"):
            return Fault(
                f"{where} accepts none of your keys ({first_line(error)})",
                "copy your public key there with `ssh-copy-id`, or name user and key file in ~/.ssh/config",
                True,
            )
        if name in ("ConnectionLost", "DisconnectError", "ProtocolError", "KeyExchangeFailed"):
            return Fault(
                f"{where} breaks off the connection ({first_line(error)})", "try `ssh` to it, which says why"
            )
        if name in ("SFTPFailure", "ChannelOpenError", "SFTPError", "SFTPConnectionLost"):
            return Fault(f"{where} offers no SFTP, or it fails ({first_line(error)})", "try `sftp` to it")
    return None


def _of_network(causes: list[BaseException], protocol: str, where: str) -> Fault | None:
    names = {type(error).__name__ for error in causes}
    text = " ".join(str(error) for error in causes)
    if any(isinstance(error, socket.gaierror) for error in causes):
        return Fault(f"the name of {where} cannot be resolved", "correct the address")
    if any(isinstance(error, ssl.SSLError) for error in causes) or names & {"SSLError"}:
        if "WRONG_VERSION_NUMBER" in text:
            return Fault(f"{where} does not use encryption", "write http:// instead of https://")
        return Fault(
            f"the certificate of {where} is not accepted",
            "set AWS_CA_BUNDLE to the file of the authority that signed it",
        )
    if any(isinstance(error, ConnectionRefusedError) for error in causes):
        return Fault(f"{where} refuses the connection", "start the server, or correct host and port")
    if any(isinstance(error, TimeoutError) for error in causes) or any("Timeout" in name for name in names):
        return Fault(f"{where} does not answer in time", "start the server or open the firewall")
    if protocol == "s3" and names & {
        "EndpointConnectionError",
        "ConnectionClosedError",
        "ClientConnectorError",
    }:
        return Fault(f"{where} does not answer", "start the server, or correct --endpoint")
    return None


def _of_files(causes: list[BaseException], protocol: str, where: str) -> Fault | None:
    place = "" if protocol == "local" else f" on {where}"
    for error in causes:
        if not isinstance(error, OSError):
            continue
        if isinstance(error, FileNotFoundError):
            return Fault(f"the folder does not exist{place}", NO_SUCH_FOLDER)
        if isinstance(error, PermissionError):
            return Fault(
                f"you may not write there ({first_line(error)})",
                f"{OPEN_TO_THE_GROUP}; reading alone is enough for `mergershift repro --pull`",
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Fault(f"there is no room{place}", "make room on that disk or in your quota")
        if error.errno == errno.EROFS:
            return Fault(f"its file system is mounted read-only{place}", "have it mounted for writing")
        if error.errno in (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN):
            return Fault(f"its file system fails ({first_line(error)})", "have it mounted anew")
    return None
