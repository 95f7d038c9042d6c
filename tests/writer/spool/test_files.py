"""Kind: what the owner of a folder can do to root, who writes into it, too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from request_images import health
from request_images.writer.spool import files
from request_images.writer.spool.folder import Spool
from request_images.writer.spool.quota import open_account

TEXT = b"of root"
USER, ROOT, STRANGER = 1234, 0, 4321

is_root = hasattr(os, "geteuid") and os.geteuid() == ROOT


@pytest.fixture
def secret(tmp_path):
    """A file that is none of the spool's."""
    path = tmp_path / "secret"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def spool(tmp_path):
    (tmp_path / "spool").mkdir(mode=0o700)
    return Spool(tmp_path / "spool", 10_000)


@pytest.fixture
def handed_over(monkeypatch):
    """The owners of the files that were handed over."""
    owners = []
    monkeypatch.setattr(os, "fchown", lambda fd, *owner: owners.append(owner))
    return owners


def plant(kind, path, secret):
    """Put something else where a file of the spool is looked for."""
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "dangling link":
        path.symlink_to(secret.with_name("new"))
    elif kind == "second name":
        path.hardlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


KINDS = ["link", "dangling link", "second name", "pipe", "folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("handed_over")
class TestPlanted:
    def test_planted_account_is_refused(self, spool, secret, kind, handed_over):
        """It is neither written, nor handed over, nor waited for."""
        plant(kind, spool.folder / "account", secret)
        plant(kind, spool.folder / "reader", secret)
        with pytest.raises(OSError):  # noqa: PT011  # each system says it in its way
            spool.put({}, b"")
        with pytest.raises(OSError):  # noqa: PT011  # as above
            spool.reading().__enter__()
        with pytest.raises(OSError):  # noqa: PT011  # as above
            spool.contents()
        with pytest.raises(OSError):  # noqa: PT011  # as above
            spool.sweep(None)
        assert secret.read_bytes() == TEXT
        assert not secret.with_name("new").exists()
        assert handed_over == []

    def test_planted_entry_is_reported_and_left_alone(self, spool, secret, kind):
        """It is reported and left alone, and the others are read."""
        plant(kind, spool.folder / f"0-{'0' * 32}-.spooled", secret)
        spool.put({"a": 1}, b"")
        assert [entry.document for entry in spool.take()] == [{"a": 1}]
        assert secret.read_bytes() == TEXT
        assert sum(health.faults().values()) == 1
        health.reset()

    def test_sweep_deletes_only_the_planted_name(self, spool, secret, kind):
        """Sweeping deletes a name, and never what it leads to."""
        path = spool.folder / "0-0-x.bad"
        plant(kind, path, secret)
        os.utime(path, (0, 0), follow_symlinks=False)
        spool.sweep(0)
        assert secret.read_bytes() == TEXT
        assert path.is_dir() == (kind == "folder")
        health.reset()

    def test_command_refuses_planted_files(self, settings, spool, secret, kind, db):
        settings.REQUEST_IMAGES_SPOOL_DIR = spool.folder
        plant(kind, spool.folder / "account", secret)
        with pytest.raises(CommandError, match="Error: "):
            call_command("write_spooled_requests")
        assert secret.read_bytes() == TEXT


def test_system_that_opens_no_folders_keeps_a_spool(spool, monkeypatch):
    """There an entry is written and read by its path."""
    monkeypatch.setattr(files, "_OPENS_FOLDERS", False)
    assert spool.put({"number": 1}, b"bytes")
    [entry] = spool.take()
    assert (entry.document, entry.data) == ({"number": 1}, b"bytes")


def test_folder_is_the_one_that_was_looked_at(spool, tmp_path, monkeypatch):
    """Kind: the folder's owner puts a link in its place between any two calls."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "account").write_bytes(TEXT)
    real_open = os.open

    def slow_open(path, *args, **options):
        if Path(path).name == "account":
            spool.folder.rename(tmp_path / "away")
            spool.folder.symlink_to(other)
        return real_open(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", slow_open)
        with open_account(spool.folder / "account"):
            pass
    assert (other / "account").read_bytes() == TEXT
    assert (tmp_path / "away" / "account").exists()


class TestOwner:
    @pytest.mark.parametrize(
        ("owner", "is_refused"), [(USER, False), (ROOT, False), (STRANGER, True)]
    )
    def test_file_of_a_stranger_is_refused(self, tmp_path, owner, is_refused):
        path = tmp_path / "file"
        path.touch()
        found, folder = list(path.stat()), list(tmp_path.stat())
        found[4], folder[4] = owner, USER
        arguments = path, os.stat_result(found), os.stat_result(folder)
        if not is_refused:
            files._require_plain_file(*arguments)
            return
        with pytest.raises(PermissionError, match="neither the folder's owner"):
            files._require_plain_file(*arguments)

    @pytest.mark.skipif(not is_root, reason="only root gives a link to another user")
    def test_folder_that_is_a_strangers_link_is_refused(self, tmp_path):
        """Root would write to, and delete from, wherever that leads."""
        (tmp_path / "real").mkdir()
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "real")
        spool = Spool(link, 10_000)
        assert spool.put({}, b"")  # our own
        os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
        for refused in (
            lambda: Spool(link, 10_000).put({}),
            lambda: list(spool.take()),
            lambda: spool.sweep(None),
            spool.contents,
        ):
            with pytest.raises(PermissionError, match="link of another user"):
                refused()

    def test_own_user_of_a_system_without_users_is_root(self, monkeypatch):
        monkeypatch.delattr(os, "geteuid")
        assert files.own_user() == ROOT


@pytest.mark.parametrize(
    "account",
    [
        b"[" * 4000,
        b"[" * 100_000,
        json.dumps({"size": -(10**15), "counted_at": 1.0}).encode(),
        b'{"size": NaN, "counted_at": 1}',
        b'{"size": 1e999, "counted_at": 1}',
        b'{"size": "1"}',
        b'{"size": [1]}',
        b"5",
        b"\xff",
    ],
)
def test_impossible_account_is_counted_again(spool, account):
    """With a size below 0 all entries would fit."""
    (spool.folder / "account").write_bytes(account)
    assert spool.put({}, b"x" * 5000)
    assert not spool.put({}, b"x" * 6000)
    (spool.folder / "account").write_bytes(account)
    assert spool.contents().size > 5000
