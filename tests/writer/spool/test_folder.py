"""The spool folder: documents and bytes in segments, and nothing of requests."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from request_images import health
from request_images.writer.spool import folder as spool_folder
from request_images.writer.spool import quota, segment
from request_images.writer.spool.folder import SUFFIX, Contents, Spool
from request_images.writer.spool.quota import open_account


def documents(spool, skipped=()):
    return [entry.document for entry in spool.take(skipped)]


def remove_all(spool):
    """Take everything, as one batch after the other."""
    for entry in spool.take():
        spool.remove([entry])


def segments(folder):
    """The files of records, and of what is bad."""
    shared = ("account", "reader")
    return sorted(path for path in folder.iterdir() if path.name not in shared)


def only_segment(folder):
    [path] = segments(folder)
    return path


def raising(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken


def _open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


class TestOrder:
    def test_first_in_first_out(self, tmp_path):
        """Records come back whole and in order, and stay until they are removed."""
        spool = Spool(tmp_path / "a" / "b", 10_000)
        for number in range(3):
            assert spool.put({"number": number}, bytes([number]) * number, b"end")
        assert spool.contents().entries == 3
        first, second, third = spool.take()
        assert [first.data, second.data, third.data] == [b"end", b"\1end", b"\2\2end"]
        spool.remove([first, third])
        [left] = spool.take()
        assert (left.document, left.data) == ({"number": 1}, b"\1end")
        spool.remove([left])
        assert list(spool.take()) == []
        assert (spool.contents(), segments(spool.folder)) == (Contents(), [])

    def test_older_segments_are_first(self, tmp_path, monkeypatch):
        """Each process has segments of its own; one that is old takes no more."""
        first, second = Spool(tmp_path, 10**6), Spool(tmp_path, 10**6)
        first.put({"number": 1})
        second.put({"number": 3})
        first.put({"number": 2})
        later = time.time_ns() + int(61e9)
        with monkeypatch.context() as patch:
            patch.setattr(segment, "time", SimpleNamespace(time_ns=lambda: later))
            first.put({"number": 4})
        assert [d["number"] for d in documents(first)] == [1, 2, 3, 4]
        assert len(segments(tmp_path)) == 3

    def test_groups(self, tmp_path):
        """Those of a group are left out from the moment that it is said so."""
        spool = Spool(tmp_path, 10**6)
        for number, group in enumerate("abab"):
            spool.put({"number": number}, group=group)
        assert [d["number"] for d in documents(spool, {"a"})] == [1, 3]
        skipped = set()
        found = []
        for entry in spool.take(skipped):
            found.append((entry.group, entry.document["number"]))
            skipped.add("a")
        assert found == [("a", 0), ("b", 1), ("b", 3)]

    def test_few_files_are_open(self, tmp_path):
        """However many groups there are."""
        spool = Spool(tmp_path, 10**8)
        before = _open_files()
        for number in range(50):
            spool.put({"number": number}, group=f"{number:x}")
        assert _open_files() - before <= spool_folder._MAX_OPEN
        assert len(documents(spool)) == 50
        remove_all(spool)
        assert segments(tmp_path) == []


class TestLimit:
    def test_folder_is_bounded(self, tmp_path):
        """A record beyond the limit is refused, and those in the folder stay."""
        spool = Spool(tmp_path, 200)
        before = time.time()
        assert spool.put({}, bytes(100))
        assert spool.contents().refused_at is None
        assert not spool.put({}, bytes(100))
        contents = spool.contents()
        assert contents.entries == 1
        assert before <= contents.oldest <= contents.refused_at <= time.time()

    def test_is_bounded_for_threads(self, tmp_path, monkeypatch):
        """However many put something at once."""
        monkeypatch.setattr(spool_folder, "_LOCK_SECONDS", 60)
        monkeypatch.setattr(quota, "LOCK_SECONDS", 60)
        spools = [Spool(tmp_path, 20_000_000) for _ in range(4)]
        barrier, kept = threading.Barrier(16), []

        def put(number):
            barrier.wait()
            kept.append(spools[number % 4].put({}, bytes(5_000_000)))

        threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (sum(kept), len(documents(spools[0]))) == (3, 3)

    @pytest.mark.processes
    def test_is_bounded_for_processes(self, tmp_path):
        """The bound is that of the folder, not of each process."""
        script = (
            "import sys\n"
            "from multiprocessing import get_context\n"
            "from request_images.writer.spool.folder import Spool\n"
            "fork = get_context('fork')\n"
            "barrier = fork.Barrier(5)\n"
            "def put(_):\n"
            "    barrier.wait()\n"
            "    return Spool(sys.argv[1], 20_000_000).put({}, bytes(5_000_000))\n"
            "with fork.Pool(5) as processes:\n"
            "    print(*sorted(processes.map(put, range(5), chunksize=1)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stdout == "False False True True True\n"

    def test_room_is_reserved_for_many_records(self, tmp_path, monkeypatch):
        """The number that all processes share is not touched for each record."""
        spool = Spool(tmp_path, 10**8)
        spool.put({})
        monkeypatch.setattr(spool_folder, "open_account", raising(AssertionError))
        for _ in range(100):
            assert spool.put({}, bytes(1000))

    def test_reserved_room_counts(self, tmp_path):
        """A segment that another process fills has the room to be filled."""
        filling = [Spool(tmp_path, 6_400_000) for _ in range(64)]
        assert all(spool.put({}) for spool in filling)
        other = Spool(tmp_path, 6_400_000)
        assert not other.put({}, bytes(1000))
        with open_account(tmp_path / "account") as account:
            account.counted_at -= 11
        assert not other.put({}, bytes(1000))
        assert all(spool.put({}, bytes(90_000)) for spool in filling)
        assert other.contents().size <= 6_400_000

    def test_removed_records_make_room(self, tmp_path):
        """Removed records make room at once, deleted files after a while."""
        spool = Spool(tmp_path, 200)
        assert spool.put({}, bytes(100))
        remove_all(spool)
        assert spool.put({}, bytes(100))
        only_segment(tmp_path).unlink()
        assert not spool.put({}, bytes(100))
        with open_account(tmp_path / "account") as account:
            account.counted_at -= 11
        assert spool.put({}, bytes(100))

    @pytest.mark.parametrize("content", [b"", b"torn", b"{}{}", b"[]", b'{"size": ""}'])
    def test_damaged_account_is_counted_again(self, tmp_path, content):
        """The folder is counted anew."""
        Spool(tmp_path, 200).put({}, bytes(100))
        (tmp_path / "account").write_bytes(content)
        assert not Spool(tmp_path, 200).put({}, bytes(100))

    def test_locked_account_is_waited_for_briefly(self, tmp_path, monkeypatch):
        """A process that was stopped is not waited for for ever."""
        monkeypatch.setattr(quota, "LOCK_SECONDS", 0.01)
        spool = Spool(tmp_path, 1000)
        spool.put({"a": 1})
        [entry] = spool.take()
        with open_account(tmp_path / "account"):
            with pytest.raises(TimeoutError):
                Spool(tmp_path, 1000).put({})
            spool.remove([entry])
        assert documents(spool) == segments(tmp_path) == []
        assert health.faults() == {"spool:TimeoutError": 1}
        health.reset()

    def test_thread_that_hangs_is_not_waited_for(self, tmp_path, monkeypatch):
        """A disk that does not answer holds one thread, not all."""
        monkeypatch.setattr(spool_folder, "_LOCK_SECONDS", 0.01)
        spool = Spool(tmp_path, 1000)
        with spool._lock, pytest.raises(TimeoutError):
            spool.put({})


class TestFiles:
    def test_files_are_readable_by_the_owner_only(self, tmp_path):
        """Also in a folder that others may look into: they hold users' images."""
        tmp_path.chmod(0o755)
        spool = Spool(tmp_path, 1000)
        spool.put({})
        with spool.reading() as is_ours:
            assert is_ours
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert (len(list(tmp_path.iterdir())), modes) == (3, {0o600})

    def test_files_of_root_belong_to_the_folders_owner(self, tmp_path, monkeypatch):
        """Cron's command must not close the folder to the processes that serve."""
        given, fstat = [], os.fstat

        def of_another(descriptor):
            found = list(fstat(descriptor))
            if stat.S_ISDIR(found[0]):
                found[4:6] = 65534, 65533
            return os.stat_result(found)

        monkeypatch.setattr(os, "fstat", of_another)
        monkeypatch.setattr(os, "fchown", lambda fd, *owner: given.append(owner))
        Spool(tmp_path, 1000).put({})
        assert set(given) == {(65534, 65533)}

    def test_one_process_reads(self, tmp_path):
        """The second one is told so, until the first has finished."""
        spool, other = Spool(tmp_path, 1000), Spool(tmp_path, 1000)
        with spool.reading() as is_ours, other.reading() as is_others:
            assert (is_ours, is_others) == (True, False)
        with other.reading() as is_others:
            assert is_others
        with Spool(tmp_path / "none", 1000).reading() as is_ours:
            assert not is_ours

    def test_record_is_not_lost_in_a_segment_that_is_deleted(self, tmp_path):
        """The reader deletes the segment of a running process; that begins another."""
        spool, reader = Spool(tmp_path, 10**6), Spool(tmp_path, 10**6)
        for number in range(5):
            spool.put({"number": number})
            assert documents(reader) == [{"number": number}]
            remove_all(reader)
            assert segments(tmp_path) == []

    def test_segment_is_not_deleted_while_it_grows(self, tmp_path, monkeypatch):
        """A process that appends holds its lock."""
        spool = Spool(tmp_path, 10**6)
        spool.put({"number": 1})
        [entry] = spool.take()
        lock = segment._lock

        def grow_first(file):
            monkeypatch.setattr(segment, "_lock", lock)
            spool.put({"number": 2})
            return lock(file)

        monkeypatch.setattr(segment, "_lock", grow_first)
        spool.remove([entry])
        assert documents(spool) == [{"number": 2}]
        monkeypatch.setattr(segment, "_lock", lambda file: False)
        remove_all(spool)
        assert segments(tmp_path)

    def test_new_segment_that_is_deleted_at_once(self, tmp_path, monkeypatch):
        """The reader finds nothing in it yet. If that goes on, it is said."""
        spool, append = Spool(tmp_path, 10**6), segment.Appender.append
        refused = []

        def refuse_first(self, parts):
            refused.append(parts)
            return len(refused) > 2 and append(self, parts)

        monkeypatch.setattr(segment.Appender, "append", refuse_first)
        assert spool.put({"a": 1})
        assert documents(spool) == [{"a": 1}]
        monkeypatch.setattr(segment.Appender, "append", lambda *_: False)
        with pytest.raises(OSError, match="cannot be locked"):
            spool.put({"a": 2})

    def test_system_without_writev(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "writev")
        spool = Spool(tmp_path, 1000)
        assert spool.put({"a": 1}, b"by", b"tes")
        [entry] = spool.take()
        assert (entry.document, entry.data) == ({"a": 1}, b"bytes")

    @pytest.mark.parametrize("is_short", [True, False])
    def test_full_disk_leaves_nothing_of_a_record(
        self, tmp_path, monkeypatch, is_short
    ):
        """A write that fails leaves no part of a record, and the next is whole."""
        spool, writev = Spool(tmp_path, 10_000), os.writev
        spool.put({"a": 1})

        def write_half(descriptor, parts):
            os.write(descriptor, b"".join(parts)[:20])
            if not is_short:
                raise OSError(errno.EIO, "broken disk")
            return 20

        monkeypatch.setattr(os, "writev", write_half)
        with pytest.raises(OSError, match="whole" if is_short else "broken"):
            spool.put({"a": 2}, b"bytes")
        monkeypatch.setattr(os, "writev", writev)
        spool.put({"a": 3})
        assert documents(spool) == [{"a": 1}, {"a": 3}]
        assert len(segments(tmp_path)) == 1

    def test_unreadable_segment_is_reported(self, tmp_path, monkeypatch):
        """Another user's is reported, left alone, and blocks no other."""
        Spool(tmp_path, 10_000).put({"a": 1})
        foreign = only_segment(tmp_path)
        spool = Spool(tmp_path, 10_000)
        spool.put({"a": 2})
        open_file = segment.open_file

        def refuse(path, flags):
            if path == foreign:
                raise PermissionError("not yours")
            return open_file(path, flags)

        monkeypatch.setattr(segment, "open_file", refuse)
        assert documents(spool) == [{"a": 2}]
        assert spool.contents().entries == 1
        assert foreign.exists()
        assert health.faults() == {"spool:PermissionError": 2}
        health.reset()

    def test_segment_deleted_meanwhile_is_no_error(self, tmp_path):
        spool = Spool(tmp_path, 1000)
        spool.put({"a": 1})
        entries = spool.take()
        entry = next(entries)
        only_segment(tmp_path).unlink()
        spool.remove([entry])
        spool.quarantine(entry)
        assert list(entries) == []

    def test_undeletable_segment_is_reported(self, tmp_path, monkeypatch):
        """It is reported, and nothing of it comes again."""
        spool = Spool(tmp_path, 1000)
        spool.put({"a": 1})
        [entry] = spool.take()
        with monkeypatch.context() as patch:
            patch.setattr(segment.Path, "unlink", raising(PermissionError))
            spool.remove([entry])
        assert spool.contents().entries == 0
        assert health.faults() == {"spool:PermissionError": 1}
        health.reset()


def damaged(path, start, data):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


@contextmanager
def three_records(folder):
    """Three records in one segment, and where each begins."""
    spool = Spool(folder, 10**6)
    starts = []
    for number in range(3):
        starts.append(
            sum(
                path.stat().st_size
                for path in folder.iterdir()
                if path.suffix == SUFFIX
            )
        )
        spool.put({"number": number}, bytes([number]) * 500)
    try:
        yield spool, only_segment(folder), starts
    finally:
        health.reset()


class TestDamage:
    @pytest.mark.parametrize(
        ("offset", "data"),
        [
            (0, b"\xff" * 8),  # the marker
            (10, b"\xff"),  # the time
            (17, b"\xff"),  # the length of the document
            (20, b"\x01"),
            (21, b"\x01"),  # the length of the bytes
            (28, b"\x00"),
            (30, b"\xff"),  # the checksum
            (40, b"\xff"),  # the document
            (0, bytes(60)),
        ],
    )
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_damaged_record_costs_no_other(self, tmp_path, number, offset, data):
        """It is quarantined, once, and the others are read."""
        with three_records(tmp_path) as (spool, path, starts):
            damaged(path, starts[number] + offset, data)
            left = [n for n in range(3) if n != number]
            for _ in range(2):
                assert [d["number"] for d in documents(spool)] == left
            contents = spool.contents()
            assert (contents.bad, contents.entries) == (1, 2)
            assert health.counts() == {"spool_bad": 1}
            for entry in spool.take():
                spool.remove([entry])
            [bad] = segments(tmp_path)
            assert bad.suffix == ".bad"
            assert bytes([number]) * 400 in bad.read_bytes()

    def test_bytes_between_records(self, tmp_path):
        """Stray bytes are too few to be anything, and are passed over."""
        with three_records(tmp_path) as (spool, path, starts):
            content = path.read_bytes()
            path.write_bytes(content[: starts[1]] + b"stray" + content[starts[1] :])
            assert len(documents(spool)) == 3
            remove_all(spool)
            assert segments(tmp_path) == []

    @pytest.mark.parametrize("left", [1, 8, 20, 40, 300])
    def test_torn_record_is_left_out(self, tmp_path, left):
        """Kind: the process was killed, or the power failed, in the middle of it."""
        with three_records(tmp_path) as (spool, path, starts):
            os.truncate(path, starts[2] + left)
            assert [d["number"] for d in documents(spool)] == [0, 1]
            assert spool.contents().entries == 2
            remove_all(spool)
            assert segments(tmp_path) == []
            assert health.faults() == {}

    @pytest.mark.parametrize("document", [b"[]", b"{bad", b"[" * 200_000])
    def test_document_that_is_none(self, tmp_path, monkeypatch, document):
        spool = Spool(tmp_path, 10**6)
        with monkeypatch.context() as patch:
            patch.setattr(segment, "_encode", lambda _: document.decode())
            spool.put({})
        spool.put({"a": 1})
        assert documents(spool) == [{"a": 1}]
        assert spool.contents().bad == 1
        health.reset()

    @pytest.mark.parametrize("name", ["0", "0-0-x", "0-00-x", "1-" + "0" * 32])
    def test_file_of_another_name(self, tmp_path, name):
        """It is put aside as a whole."""
        (tmp_path / f"{name}{SUFFIX}").write_bytes(b"something")
        spool = Spool(tmp_path, 10**6)
        spool.put({"a": 1})
        assert spool.contents().entries == 1
        assert documents(spool) == [{"a": 1}]
        assert (tmp_path / f"{name}.bad").read_bytes() == b"something"
        assert spool.contents().bad == 1
        health.reset()

    def test_image_does_not_look_like_a_record(self, tmp_path):
        """Kind: somebody uploads a record, to be found behind a damaged one."""
        other = Spool(tmp_path / "other", 10**6)
        other.put({"forged": True})
        forged = only_segment(tmp_path / "other").read_bytes()
        spool = Spool(tmp_path / "spool", 10**6)
        spool.put({"number": 0}, forged)
        path = only_segment(tmp_path / "spool")
        os.truncate(path, path.stat().st_size - 1)
        assert documents(spool) == []

    def test_quarantined_record_can_be_tried_again(self, tmp_path):
        """By another name of its file."""
        with three_records(tmp_path) as (spool, _, _):
            first, second, third = spool.take()
            spool.quarantine(second)
            spool.remove([first, third])
            [bad] = segments(tmp_path)
            bad.rename(bad.with_suffix(SUFFIX))
            [again] = spool.take()
            assert (again.document, again.data) == (second.document, second.data)

    def test_quarantine_without_room_on_the_disk(self, tmp_path, monkeypatch):
        """The record stays where it is."""
        with three_records(tmp_path) as (spool, _, _):
            first = next(spool.take())
            with monkeypatch.context() as patch:
                patch.setattr(spool_folder, "open_file", raising(OSError("full")))
                spool.quarantine(first)
            assert health.faults() == {"spool:OSError": 1}
            assert len(documents(spool)) == 3


class TestSweep:
    def test_sweep_deletes_old_bad_files(self, tmp_path):
        """They go by age, and the oldest of more than a quarter of the room."""
        spool = Spool(tmp_path, 4000)
        now = time.time()
        for age in range(1, 6):
            path = tmp_path / f"{age}.bad"
            path.write_bytes(bytes(300))
            os.utime(path, (now - age * 100, now - age * 100))
        spool.sweep(None)
        assert [path.stem for path in segments(tmp_path)] == ["1", "2", "3"]
        spool.sweep(250)
        assert [path.stem for path in segments(tmp_path)] == ["1", "2"]
        assert spool.contents().size == 600
        Spool(tmp_path / "none", 1000).sweep(None)
        assert not (tmp_path / "none").exists()

    def test_sweep_reports_undeletable_files(self, tmp_path, monkeypatch):
        """It is reported, and the rest goes."""
        (tmp_path / "1.bad").write_bytes(b"")
        os.utime(tmp_path / "1.bad", (0, 0))
        monkeypatch.setattr(spool_folder.Path, "unlink", raising(PermissionError))
        Spool(tmp_path, 1000).sweep(10)
        assert health.faults() == {"spool:PermissionError": 1}
        health.reset()

    def test_file_deleted_meanwhile_has_no_size(self, tmp_path):
        assert spool_folder._size_and_time(tmp_path / "none") == (0, 0.0)


@pytest.mark.processes
def test_kill_9_leaves_whole_records(tmp_path):
    """Killed at any moment, a process leaves whole records and nothing else to read."""
    script = (
        "import os, sys, threading\n"
        "from request_images.writer.spool.folder import Spool\n"
        "spool = Spool(sys.argv[1], 10**9)\n"
        "def run(start):\n"
        "    for number in range(start, start + 10**6):\n"
        "        spool.put({'number': number}, bytes([number % 256]) * 300_000)\n"
        "        os.write(1, b'%d\\n' % number)\n"
        "threading.Thread(target=run, args=(10**6,)).start()\n"
        "run(0)\n"
    )
    confirmed = 0
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
        )
        with process:
            for _ in range(round_ + 1):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            confirmed += round_ + 1 + len(process.stdout.readlines())
    spool, found = Spool(tmp_path, 10**9), 0
    for entry in spool.take():
        assert entry.data == bytes([entry.document["number"] % 256]) * 300_000
        spool.remove([entry])
        found += 1
    assert found >= confirmed  # written, and killed before it could say so
    assert documents(spool) == segments(tmp_path) == []


@pytest.mark.processes
def test_child_of_a_fork_has_segments_of_its_own(tmp_path):
    """Parent and child append at the same time, and neither tears a record."""
    script = (
        "import os, sys\n"
        "from request_images.writer.spool.folder import Spool\n"
        "spool = Spool(sys.argv[1], 10**9)\n"
        "spool.put({'who': 'before'})\n"
        "child = os.fork()\n"
        "for number in range(300):\n"
        "    spool.put({'who': 'child' if child == 0 else 'parent'}, bytes(5000))\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    spool = Spool(tmp_path, 10**9)
    who = [document["who"] for document in documents(spool)]
    assert (len(who), who.count("child"), who.count("parent")) == (601, 300, 300)
    assert health.faults() == {}
