"""The messages of stores, as their libraries raise them, and what becomes of them."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import asyncssh
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError

from mergershift.pipeline.team_faults import fault_of


def answer(code: str) -> PermissionError:
    """The exception that s3fs makes of an answer of the store."""
    error = PermissionError("refused")
    error.__cause__ = ClientError({"Error": {"Code": code, "Message": "refused"}}, "PutObject")
    return error


class RemoteMissingDepsError(Exception):
    """Named like DVC's."""


@pytest.mark.parametrize(
    ("protocol", "error", "what", "remedy", "credentials"),
    [
        ("s3", NoCredentialsError(), "no access key", "AWS_ACCESS_KEY_ID", True),
        ("s3", answer("InvalidAccessKeyId"), "does not know this access key", "correct", True),
        ("s3", answer("SignatureDoesNotMatch"), "secret key does not belong", "correct", True),
        ("s3", answer("403"), "refuses this key", "correct", True),
        ("s3", answer("AccessDenied"), "may not write", "administrator", False),
        ("s3", answer("NoSuchBucket"), "no such bucket", "create the bucket", False),
        ("s3", answer("RequestTimeTooSkewed"), "clock differs", "set this machine's clock", False),
        ("s3", answer("XAmzContentSHA256Mismatch"), "checksums", "--endpoint", False),
        ("s3", ConnectTimeoutError(endpoint_url="x"), "does not answer in time", "firewall", False),
        ("s3", RemoteMissingDepsError(), "plugin for s3:// is not installed", "mergershift[s3]", False),
        ("ssh", RemoteMissingDepsError(), "plugin for ssh:// is not installed", "mergershift[ssh]", False),
        ("ssh", asyncssh.PermissionDenied("no key"), "accepts none of your keys", "ssh-copy-id", True),
        ("ssh", asyncssh.ConnectionLost("lost"), "breaks off", "`ssh`", False),
        ("ssh", ConnectionRefusedError(), "refuses the connection", "start the server", False),
        ("ssh", socket.gaierror(-2, "unknown"), "cannot be resolved", "correct the address", False),
        ("s3", ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not use encryption", "http://", False),
        ("s3", ssl.SSLError(1, "certificate verify failed"), "is not accepted", "AWS_CA_BUNDLE", False),
        ("local", FileNotFoundError(), "folder does not exist", "mount", False),
        ("local", PermissionError(errno.EACCES, "Permission denied"), "may not write there", "chgrp", False),
        ("local", OSError(errno.EROFS, os.strerror(errno.EROFS)), "read-only", "mounted for writing", False),
        ("local", OSError(errno.ENOSPC, "No space"), "no room", "make room", False),
        ("local", OSError(errno.ESTALE, "Stale file handle"), "its file system fails", "mounted anew", False),
    ],
)
def test_a_fault_has_a_remedy(
    protocol: str, error: Exception, what: str, remedy: str, credentials: bool
) -> None:
    fault = fault_of(error, protocol, "the server")
    assert what in fault.what
    assert remedy in fault.remedy
    assert fault.credentials is credentials
    assert not fault.what.endswith(".")


def test_an_unknown_error_is_quoted_without_passwords() -> None:
    assert fault_of(ValueError("https://ana:word@host failed"), "s3", "x").what == "https://host failed"
