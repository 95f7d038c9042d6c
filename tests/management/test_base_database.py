"""Kind: clear words, and no traceback, where a command cannot use the database."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, ProgrammingError, connection

from request_images import health
from request_images.db.errors import is_not_migrated
from request_images.health import logger, report
from request_images.management.base import ImagesCommand
from request_images.models import ImageContent
from tests.factories import make_content, tables_missing

COMMANDS = [
    ("analyze_image_contents", ()),
    ("cleanup_old_images", ()),
    ("cleanup_old_images", ("--dry-run",)),
    ("compress_image_contents", ()),
    ("make_thumbnails", ()),
    ("move_image_contents", ("--to", "database")),
    ("update_image_statistics", ()),
    ("update_image_statistics", ("--rebuild",)),
    ("verify_image_contents", ()),
    ("verify_image_contents", ("--repair",)),
    ("write_spooled_requests", ()),
]


@pytest.fixture
def renamed(transactional_db):
    """Have none of our tables, as before `migrate`."""
    tables = connection.introspection.table_names()
    ours = [name for name in tables if name.startswith("request_images_")]
    rename = "ALTER TABLE {} RENAME TO {}"
    with connection.cursor() as cursor:
        for name in ours:
            cursor.execute(rename.format(name, f"away_{name}"))
        yield
        for name in ours:
            cursor.execute(rename.format(f"away_{name}", name))


@pytest.mark.parametrize(("command", "options"), COMMANDS)
@pytest.mark.usefixtures("renamed")
def test_before_migrate(command, options, settings, tmp_path):
    """One sentence that says what to do."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path
    with pytest.raises(
        CommandError, match=r"Run `python manage\.py migrate`"
    ) as caught:
        call_command(command, *options, verbosity=0)
    assert "\n" not in str(caught.value)


@pytest.mark.django_db(transaction=True)
def test_tables_of_an_older_version():
    """A migration is missing: a table, or a column of one."""
    with tables_missing(), pytest.raises(CommandError, match="of another version"):
        call_command("update_image_statistics", verbosity=0)


@pytest.mark.usefixtures("renamed")
def test_health_before_migrate(capsys):
    """It reports that like any other problem, for monitoring."""
    with pytest.raises(SystemExit):
        call_command("request_images_health", "--json")
    assert "request_images_requestlog" in capsys.readouterr().out


class Broken(ImagesCommand):
    """Fails in the given way."""

    error: Exception

    def work(self, **options):
        raise self.error


@pytest.mark.django_db
class TestErrors:
    def run(self, error):
        command = Broken()
        command.error = error
        call_command(command)

    def test_database_that_is_away(self):
        error = OperationalError("could not connect\n\tIs the server running?")
        said = "cannot be used: OperationalError: could not connect Is the server"
        with pytest.raises(CommandError, match=said):
            self.run(error)

    def test_error_of_ours_keeps_its_traceback(self):
        with pytest.raises(ProgrammingError, match="syntax"):
            self.run(ProgrammingError("syntax error"))


@pytest.mark.django_db
class TestLog:
    """A command logs what it leaves out, to a terminal or a mail of cron's."""

    @pytest.fixture(autouse=True)
    def _reset(self):
        health.reset()
        yield
        health.reset()

    def test_storage_that_is_gone_is_one_line(self, caplog):
        """Kind: one line for each kind of fault, and no traceback."""
        make_content()
        ImageContent.objects.update(storage="gone")
        call_command("make_thumbnails", verbosity=0)
        assert "Could not find config for 'gone'" in caplog.text
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("error", [ZeroDivisionError(), OSError()])
    def test_fault_of_ours_keeps_its_traceback(self, caplog, error):
        """And so does everything that is logged by a server."""

        class Reporting(ImagesCommand):
            def work(self, **options):
                logger.warning("Nothing has failed.")
                report("derive", ZeroDivisionError())

        call_command(Reporting())
        report("store", error)
        traced = [type(r.exc_info[1]) for r in caplog.records if r.exc_info]
        assert traced == [ZeroDivisionError, type(error)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("no such table: request_images_lease"), True),
        (OperationalError("table x has no column named y"), True),
        (ProgrammingError(1146, "Table 'x' doesn't exist"), True),
        (OperationalError(1054, "Unknown column 'x'"), True),
        (OperationalError(2006, "Server has gone away"), False),
        (DatabaseError(), False),
    ],
)
def test_is_not_migrated(error, expected):
    """By the codes and words of each database."""
    assert is_not_migrated(error) == expected
