"""System checks: one test for each id, through Django's own check framework."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from request_images.capture.before_view import nested_views
from request_images.conf import PREFIX
from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin
from request_images.storage import encodings
from request_images.writer.spool import survey
from request_images.writer.spool.folder import Spool
from tests.storage.test_encodings import needs_lepton

pytestmark = pytest.mark.django_db  # some checks ask what the database can do


@pytest.fixture
def found(settings):
    """Return a function that sets settings and returns our messages by id."""

    def check(**values):
        for name, value in values.items():
            setattr(settings, PREFIX + name, value)
        ours = [m for m in run_checks() if m.id.startswith("request_images.")]
        return {message.id: message for message in ours}

    return check


def test_defaults_pass(found):
    """A project without settings gets no message."""
    assert found() == {}


def test_deleted_setting_falls_back_to_the_default(found, settings):
    """``del settings.X`` in a test of a host project breaks no check."""
    del settings.REQUEST_IMAGES_ENABLED
    assert found() == {}


@pytest.mark.parametrize(
    ("check_id", "name", "value"),
    [
        ("E001", "ENABLED", "yes"),
        ("E002", "MAX_SIZE_MB", 0),
        ("E003", "RETENTION_DAYS", 0),
        ("E004", "LOG_RETENTION_DAYS", -1),
        ("E005", "ALLOWED_FORMATS", "PNG"),
        ("E006", "METHODS", ["post"]),
        ("E007", "REQUEST_ID_HEADER", ""),
        ("E008", "CLEANUP_BATCH_SIZE", 0),
        ("E009", "THUMBNAIL_SIZE", 5),
        ("E010", "THUMBNAIL_MAX_PIXELS", 0),
        ("E012", "WRITE_MODE", "now"),
        ("E013", "BACKLOG_MAX_MB", 0),
        ("E014", "BACKLOG_MAX_REQUESTS", 0),
        ("E015", "BACKLOG_WAIT_SECONDS", "1"),
        ("E016", "SHUTDOWN_SECONDS", -1),
        ("E017", "LOCK_TIMEOUT_SECONDS", 0),
        ("E018", "SPOOL_DIR", 5),
        ("E019", "SPOOL_MAX_MB", 0),
        ("E020", "SAMPLE_RATE", 5),
        ("E021", "SHOULD_CAPTURE", True),
        ("E022", "SHOULD_KEEP", "no path"),
        ("E023", "STORAGE", "database"),
        ("E023", "STORAGE", 5),
        ("E024", "FAILED_RETENTION_DAYS", 0),
        ("E025", "BYTES_RETENTION_DAYS", 1.5),
        ("E026", "MAX_STORED_MB", 0),
        ("E026", "MAX_STORED_MB", float("inf")),
        ("E027", "THUMBNAILS", "now"),
        ("E028", "THUMBNAIL_MAX_MEMORY_MB", 0),
        ("E029", "ENCODINGS", ["brotli"]),
        ("E030", "COMPRESSION", "now"),
    ],
)
def test_wrong_value_is_an_error(found, check_id, name, value):
    """Each wrong value has its own id, names the setting, and hints at the default."""
    messages = found(**{name: value})
    [message] = messages.values()
    assert message.id == f"request_images.{check_id}"
    assert message.is_serious()
    assert message.msg.startswith(f"{PREFIX}{name} must be ")
    assert repr(value) in message.msg
    assert message.hint.startswith("The default is ")


def test_E011_unknown_format(found):
    """A format is known by Pillow's name, in upper case; each wrong one is named."""
    [message] = found(ALLOWED_FORMATS=["png", "PNG"]).values()
    assert message.id == "request_images.E011"
    assert message.is_serious()
    assert "'png'" in message.msg
    assert "PNG" in message.hint


def decide(thing):
    """A function to name by its path."""


async def wait(thing):
    """An async function, which is not called."""


TEXT = "tests.test_checks.decide"


@pytest.mark.parametrize("name", ["SHOULD_CAPTURE", "SHOULD_KEEP"])
def test_E021_E022_path_of_a_function_passes(found, name):
    """A path to a callable is right."""
    assert found(**{name: f"{__name__}.decide"}) == {}


@pytest.mark.parametrize(("name", "id_"), [("SHOULD_CAPTURE", 21), ("SHOULD_KEEP", 22)])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no.such.function", "ModuleNotFoundError: No module named 'no'."),
        (f"{__name__}.nothing", "ImportError: "),
        (f"{__name__}.wait", "function that is not async"),
        (f"{__name__}.TEXT", "'tests.test_checks.decide'."),
    ],
)
def test_E021_E022_path_without_a_usable_function(found, name, id_, path, says):
    """A function that is missing or async, or anything else, is an error."""
    [message] = found(**{name: path}).values()
    assert message.id == f"request_images.E{id_:03}"
    assert message.is_serious()
    assert message.msg.startswith(
        f"{PREFIX}{name} names {path!r}, which cannot be used: "
    )
    assert says in message.msg


def test_E023_unknown_alias(found, settings):
    """A missing storage is reported before the first image comes."""
    [message] = found(STORAGE="bucket").values()
    assert message.id == "request_images.E023"
    assert message.is_serious()
    said = "REQUEST_IMAGES_STORAGE names 'bucket', which is not in STORAGES."
    assert message.msg == said
    assert "'default', 'staticfiles'" in message.hint
    backend = "django.core.files.storage.InMemoryStorage"
    settings.STORAGES = {**settings.STORAGES, "bucket": {"BACKEND": backend}}
    assert found(STORAGE="bucket") == {}


def test_E023_unusable_storage(found, settings):
    """A backend that cannot be loaded would lose every image."""
    settings.STORAGES = {**settings.STORAGES, "bucket": {"BACKEND": "no.such.Storage"}}
    [message] = found(STORAGE="bucket").values()
    assert message.id == "request_images.E023"
    said = "STORAGE names 'bucket', which cannot be used: InvalidStorageError: Could"
    assert said in message.msg


@pytest.mark.parametrize("root", ["MEDIA_ROOT", "STATIC_ROOT"])
@pytest.mark.parametrize(
    ("location", "is_warned"),
    [("media", True), ("media/images", True), ("media2", False), ("", False)],
)
def test_W007_storage_in_a_public_folder(
    found, settings, tmp_path, location, is_warned, root
):
    """The web server would serve the images without any permission."""
    setattr(settings, root, str(tmp_path / "elsewhere" / ".." / "media"))
    backend = "django.core.files.storage.FileSystemStorage"
    options = {"location": str(tmp_path / location)}
    settings.STORAGES = {
        **settings.STORAGES,
        "images": {"BACKEND": backend, "OPTIONS": options},
        "memory": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    messages = found(STORAGE="images")
    assert list(messages) == ["request_images.W007"] * is_warned
    if is_warned:
        assert not messages["request_images.W007"].is_serious()
        said = messages["request_images.W007"].msg
        assert f"'images', which keeps its files in {root}:" in said
    assert found(STORAGE="memory") == {}
    assert found(STORAGE=None) == {}
    assert list(found(STORAGE="none")) == list(found(STORAGE=5))


def test_storage_without_location_is_not_public(found, settings, tmp_path):
    """A storage without a location keeps no public files; writing to it fails."""
    settings.MEDIA_ROOT = str(tmp_path)
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "static": {"BACKEND": backend}}
    assert found(STORAGE="static") == {}


@pytest.mark.parametrize("root", ["static", ("prefix", "static")])
def test_W007_storage_whose_files_are_collected(found, settings, tmp_path, root):
    """`collectstatic` copies them to where the web server serves them."""
    path = str(tmp_path / "static")
    settings.STATICFILES_DIRS = [path if isinstance(root, str) else ("prefix", path)]
    settings.STORAGES = {**settings.STORAGES, "images": files_in(tmp_path / "static")}
    [message] = found(STORAGE="images").values()
    assert (message.id, "in STATICFILES_DIRS" in message.msg) == (
        "request_images.W007",
        True,
    )


def test_W007_storage_behind_a_link(found, settings, tmp_path):
    """A link into a public folder is public."""
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.STORAGES = {**settings.STORAGES, "images": files_in(tmp_path / "link")}
    assert list(found(STORAGE="images")) == ["request_images.W007"]


def files_in(location):
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(location)},
    }


class TestWorkingDirectory:
    """Kind: images must not land where a process happens to be started."""

    def test_W011_default_storage_of_a_new_project(self, found, settings):
        """`MEDIA_ROOT` is empty: the files land beside manage.py."""
        settings.MEDIA_ROOT = ""
        [message] = found(STORAGE="default").values()
        assert message.id == "request_images.W011"
        assert str(Path.cwd()) in message.msg

    @pytest.mark.parametrize("location", ["media", "./a/../b", "/", "."])
    def test_W011_folder_that_depends_on_it(self, found, settings, location):
        settings.STORAGES = {**settings.STORAGES, "images": files_in(location)}
        assert list(found(STORAGE="images")) == ["request_images.W011"]

    def test_folder_within_the_project(self, found, settings):
        """An absolute folder is no accident."""
        images = files_in(Path.cwd() / "private")
        settings.STORAGES = {**settings.STORAGES, "images": images}
        assert found(STORAGE="images") == {}


class TestMisspeltPrefix:
    """Kind: a setting that does nothing is told, with the name that was meant."""

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("REQUEST_IMAGE_ENABLED", "ENABLED"),
            ("REQUESTS_IMAGES_ENABLED", "ENABLED"),
            ("REQUESTIMAGES_WRITE_MODE", "WRITE_MODE"),
            ("REQUEST_IMAGE_ENABLE", "ENABLED"),
            ("DJANGO_REQUEST_IMAGES_ENABLED", "ENABLED"),
            ("REQEST_IMAGES_RETENTION_DAYS", "RETENTION_DAYS"),
            ("REQUEST_IMGAES_STORAGE", "STORAGE"),
            ("REQUEST_IMAGE_MAX_SIZE_MB", "MAX_SIZE_MB"),
            ("IMAGE_REQUESTS_SPOOL_DIR", "SPOOL_DIR"),
            ("CAPTURE_IMAGES_ENABLED", "ENABLED"),
        ],
    )
    def test_W002(self, found, settings, name, meant):
        setattr(settings, name, True)
        [message] = found().values()
        assert message.id == "request_images.W002"
        assert message.msg.startswith(f"{name} is not a setting")
        assert message.hint == f"Did you mean {PREFIX}{meant}?"

    def test_W002_settings_in_a_dict(self, found, settings):
        settings.REQUEST_IMAGES = {"ENABLED": True}
        [message] = found().values()
        assert message.hint == f"Did you mean {PREFIX}ENABLED?"

    @pytest.mark.parametrize(
        "name",
        [
            *("REQUEST_ENABLED", "IMAGES_ENABLED", "IMAGE_STORAGE", "REQUEST_IMAGES"),
            *("REQUEST_LOG_ENABLED", "SAVE_REQUEST_IMAGES", "REQUEST_TIMEOUT"),
        ],
    )
    def test_setting_of_others(self, found, settings, name):
        setattr(settings, name, True)
        assert found() == {}


class TestSpoolFolder:
    """Kind: what only the server may read is in no folder of everybody's."""

    @pytest.mark.parametrize(
        ("mode", "is_open"),
        [(0o700, False), (0o770, False), (0o755, True), (0o701, True), (0o777, True)],
    )
    def test_W010_open_to_other_users(self, found, tmp_path, mode, is_open):
        folder = tmp_path / "spool"
        folder.mkdir()
        folder.chmod(mode)
        messages = found(SPOOL_DIR=folder)
        assert list(messages) == ["request_images.W010"] * is_open

    def test_W013_mode_without_a_folder(self, found, tmp_path):
        """The mode needs one; the queue of each process takes its place."""
        assert list(found(WRITE_MODE="spool")) == ["request_images.W013"]
        tmp_path.chmod(0o700)
        assert found(WRITE_MODE="spool", SPOOL_DIR=tmp_path) == {}

    @pytest.mark.parametrize("root", ["MEDIA_ROOT", "STATIC_ROOT"])
    def test_W010_in_a_public_folder(self, found, settings, tmp_path, root):
        setattr(settings, root, str(tmp_path))
        [message] = found(SPOOL_DIR=str(tmp_path / "spool")).values()
        assert f"is in {root}" in message.msg

    @pytest.mark.parametrize("folder", ["", "spool", "../spool"])
    def test_W010_folder_that_depends_on_the_current_one(
        self, found, tmp_path, monkeypatch, folder
    ):
        """Kind: cron's command is started elsewhere, and finds nothing."""
        tmp_path.chmod(0o700)
        monkeypatch.chdir(tmp_path)
        [message] = found(SPOOL_DIR=folder).values()
        assert "another process looks for where it was started" in message.msg

    @pytest.mark.parametrize("folder", ["none/there", 5])
    def test_folder_that_is_not_there_yet(self, found, tmp_path, folder):
        """It is created with the first entry, for its owner alone."""
        path = tmp_path / folder if folder == "none/there" else folder
        assert "request_images.W010" not in found(SPOOL_DIR=path)


class TestUnusableSpoolFolder:
    """Kind: what is wrong with the folder is known before it is needed."""

    def of(self, found, folder, **values):
        """Return the message about a folder; its hint says what to do."""
        folder.parent.chmod(0o700)
        [(check_id, message)] = found(SPOOL_DIR=folder, **values).items()
        assert message.hint
        return check_id.removeprefix("request_images."), message.msg

    def test_usable_folder(self, found, tmp_path):
        """It is written to, and nothing is left; one that is not there stays so."""
        tmp_path.chmod(0o700)
        assert found(SPOOL_DIR=tmp_path) == {}
        assert found(SPOOL_DIR=tmp_path / "a" / "b") == {}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["file", "file/spool"])
    def test_W014_file_in_its_place(self, found, tmp_path, name):
        (tmp_path / "file").touch(mode=0o600)
        check_id, text = self.of(found, tmp_path / name)
        assert check_id == "W014"
        assert text.endswith(f": {tmp_path / 'file'} is no folder.")

    @pytest.mark.parametrize(
        ("name", "does"), [("spool", "write to it"), ("spool/a/b", "create it in ")]
    )
    def test_W014_folder_of_others(self, found, tmp_path, monkeypatch, name, does):
        """Root may write anywhere, so the system is asked."""
        (tmp_path / "spool").mkdir(mode=0o700)
        tmp_path.chmod(0o700)
        monkeypatch.setattr(survey.os, "access", lambda path, mode: False)
        folder = tmp_path / name
        [message] = found(SPOOL_DIR=folder).values()
        assert message.id == "request_images.W014"
        text = message.msg
        assert f"this process may not {does}" in text

    @pytest.mark.parametrize("name", ["open_file", "spool_contents"])
    def test_W014_folder_that_fails(self, found, tmp_path, monkeypatch, name):
        """A read-only disk, say, or one that has failed."""

        def fail(*args):
            raise OSError("input/output error")

        (tmp_path / "spool").mkdir(mode=0o700)
        monkeypatch.setattr(survey, name, fail)
        check_id, text = self.of(found, tmp_path / "spool")
        assert check_id == "W014"
        assert text.endswith(": it cannot be used: input/output error.")

    def test_W015_nearly_full(self, found, tmp_path):
        folder = tmp_path / "spool"
        Spool(folder, 2000).put({}, bytes(950))
        check_id, text = self.of(found, folder, SPOOL_MAX_MB=0.001)
        assert check_id == "W015"
        assert re.search(r": 9\d % of REQUEST_IMAGES_SPOOL_MAX_MB are used\.$", text)
        assert found(SPOOL_MAX_MB=0.002) == {}

    def test_W015_small_disk(self, found, tmp_path):
        check_id, text = self.of(found, tmp_path / "spool", SPOOL_MAX_MB=10**12)
        assert check_id == "W015"
        assert "its disk has less room than" in text

    @pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
    def test_W016_network(self, found, tmp_path, monkeypatch, kind):
        """The innermost mount counts; the system writes a space in octal digits."""
        folder = tmp_path / "a b" / "spool"
        mounts = tmp_path / "mounts"
        place = str(tmp_path / "a b").replace(" ", "\\040")
        mounts.write_text(
            f"host:/x {place} {kind} rw 0 0\n"
            f"/dev/sda {tmp_path} ext4 rw 0 0\n"
            "host:/y /elsewhere nfs rw 0 0\n"
        )
        monkeypatch.setattr(survey, "_MOUNTS", mounts)
        folder.parent.mkdir(mode=0o700)
        check_id, text = self.of(found, folder)
        assert check_id == "W016"
        assert f"it is on a network ({kind}), where locks may not hold" in text
        assert found(SPOOL_DIR=tmp_path / "spool") == {}

    def test_system_that_lists_no_mounts(self, found, tmp_path, monkeypatch):
        monkeypatch.setattr(survey, "_MOUNTS", tmp_path / "none")
        assert found(SPOOL_DIR=tmp_path / "spool") == {}

    def test_W017_another_owner(self, found, tmp_path, monkeypatch):
        """Its owner's processes would refuse our files. Root may write for it."""
        folder = tmp_path / "spool"
        folder.mkdir(mode=0o700)
        owner = folder.stat().st_uid
        monkeypatch.setattr(survey, "own_user", lambda: owner + 1)
        check_id, text = self.of(found, folder)
        assert check_id == "W017"
        assert f"it belongs to user {owner}, and this process runs as" in text
        monkeypatch.setattr(survey, "own_user", lambda: 0)
        assert found() == {}

    def test_wrong_limit_is_its_own_message(self, found, tmp_path):
        messages = found(SPOOL_DIR=tmp_path / "spool", SPOOL_MAX_MB="much")
        assert list(messages) == ["request_images.E019"]


@pytest.mark.parametrize("images", [31, None])
def test_W001_log_retention_shorter_than_image_retention(found, images):
    """Logs take their images with them, so a shorter log retention is a surprise."""
    [message] = found(RETENTION_DAYS=images, LOG_RETENTION_DAYS=30).values()
    assert message.id == "request_images.W001"
    assert not message.is_serious()
    assert f"({images or 'for ever'})" in message.msg
    assert "LOG_RETENTION_DAYS" in message.hint


@pytest.mark.parametrize(("images", "logs"), [(30, 30), (30, None), (None, None)])
def test_W001_passes_if_logs_are_kept_as_long(found, images, logs):
    """Logs that are kept as long as images, or forever, need no warning."""
    assert found(RETENTION_DAYS=images, LOG_RETENTION_DAYS=logs) == {}


@pytest.mark.parametrize("name", ["FAILED_RETENTION_DAYS", "BYTES_RETENTION_DAYS"])
@pytest.mark.parametrize(
    ("days", "is_warned"), [(60, True), (59, False), (None, False)]
)
def test_W001_compares_each_image_retention(found, name, days, is_warned):
    """Each retention of images is compared with that of logs."""
    ids = [(m.id, m.msg) for m in found(LOG_RETENTION_DAYS=59, **{name: days}).values()]
    warnings = [text for id_, text in ids if id_ == "request_images.W001"]
    assert len(warnings) == is_warned
    assert all(f"{name} (60)" in text for text in warnings)


@pytest.mark.parametrize(
    ("data", "images", "is_warned"),
    [(30, 30, True), (31, 30, True), (29, 30, False), (31, None, False)],
)
def test_W004_bytes_retention_without_effect(found, data, images, is_warned):
    """A bytes retention that changes nothing is probably a mistake."""
    days = {"BYTES_RETENTION_DAYS": data, "RETENTION_DAYS": images}
    messages = found(LOG_RETENTION_DAYS=None, **days)
    ids = {message.id for message in messages.values()}
    assert ids == ({"request_images.W004"} if is_warned else set())


@pytest.mark.parametrize(
    ("room", "is_warned"), [(9, True), (9.99, True), (10, False), (None, False)]
)
def test_W005_budget_smaller_than_one_image(found, room, is_warned):
    """The next cleanup would delete the image."""
    ids = {message.id for message in found(MAX_STORED_MB=room).values()}
    assert ids == ({"request_images.W005"} if is_warned else set())


@pytest.mark.parametrize(
    "name", ["RETENTION_DAYS", "BYTES_RETENTION_DAYS", "MAX_STORED_MB", "MAX_SIZE_MB"]
)
def test_W004_W005_ignore_wrong_values(found, name):
    """Each mistake gets one message."""
    messages = found(**{name: "x"}).values()
    assert all(message.id.startswith("request_images.E") for message in messages)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RETENTON_DAYS", "Did you mean REQUEST_IMAGES_RETENTION_DAYS?"),
        ("FOO", "Remove it."),
        ("QQQ_ZZZ_WWW_XXX_YYY_KKK", "Remove it."),
    ],
)
def test_W002_unknown_setting(found, name, hint):
    """A misspelt setting has no effect; the hint names the likely one."""
    [message] = found(**{name: 5}).values()
    assert message.id == "request_images.W002"
    assert not message.is_serious()
    assert PREFIX + name in message.msg
    assert message.hint == hint


def test_E029_missing_package_of_an_encoding(found, monkeypatch):
    """The message says what to install."""
    monkeypatch.setattr(encodings, "find_spec", lambda name: None)
    message = found(ENCODINGS=["zlib", "lepton"])["request_images.E029"]
    assert "pip install 'django-request-images[lepton]'" in message.msg
    assert message.is_serious()


@needs_lepton
def test_E029_passes_with_the_package(found):
    assert found(ENCODINGS=["zlib", "lepton"]) == {}


@pytest.mark.parametrize(
    ("given", "missing"), [("TENANT", "TENANT_CONTEXT"), ("TENANT_CONTEXT", "TENANT")]
)
def test_W009_half_a_tenant(found, given, missing):
    """To tell a tenant and to enter it are one thing."""
    [message] = found(**{given: f"{__name__}.decide"}).values()
    assert message.id == "request_images.W009"
    assert f"{PREFIX}{missing} is not" in message.msg


def test_W009_both_or_none(found):
    assert found(TENANT=decide, TENANT_CONTEXT=decide) == {}


class TestNestedDecorators:
    """Kind: options that are ignored are told."""

    @pytest.fixture(autouse=True)
    def _forget(self):
        nested_views.clear()
        yield
        nested_views.clear()

    @pytest.mark.parametrize(
        ("inner", "outer", "is_told"),
        [
            ({"source": "body"}, {"source": "files.a"}, True),
            ({"source": "body"}, {}, True),
            ({"images": "all"}, {"source": "body"}, True),
            ({"endpoint": "a"}, {"endpoint": "b"}, True),
            ({}, {"source": "body"}, False),
            ({"source": "body"}, {"source": "body"}, False),
            ({}, {}, False),
        ],
    )
    def test_W012(self, found, inner, outer, is_told):
        def view(request):
            """Do nothing."""

        capture_images(**outer)(capture_images(**inner)(view))
        messages = found()
        assert list(messages) == ["request_images.W012"] * is_told
        if is_told:
            assert (
                "The view TestNestedDecorators." in messages["request_images.W012"].msg
            )

    def test_warning_where_only_a_request_shows_it(self, caplog, rf):
        """A mixin around a decorated method; once, however many requests come."""

        class Solve(CaptureImagesMixin, View):
            @method_decorator(capture_images(source="json.image"))
            def post(self, request):
                return HttpResponse(request.body)

        for _ in range(2):
            Solve.as_view()(rf.post("/", b"{}", content_type="application/json"))
        [record] = caplog.records
        assert "TestNestedDecorators" in record.getMessage()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"WRITE_MODE": "auto"},
            (
                "Under WSGI, requests are written by the thread of each request, after "
                "its response; under ASGI, by one background thread of each process."
            ),
        ),
        (
            {"WRITE_MODE": "auto", "STORAGE": "default"},
            "Requests are written by one background thread of each process.",
        ),
        (
            {"WRITE_MODE": "after_response"},
            "Requests are written by the thread of each request, after its response.",
        ),
    ],
)
def test_I001_tells_who_writes(settings, values, sentence):
    """Before a deployment, what `auto` means is a question."""
    for name, value in values.items():
        setattr(settings, PREFIX + name, value)
    messages = run_checks(include_deployment_checks=True)
    [message] = [m for m in messages if m.id == "request_images.I001"]
    assert message.msg == sentence
    assert f"{values['WRITE_MODE']!r}" in message.hint


@pytest.mark.parametrize("values", [{"ENABLED": False}, {"WRITE_MODE": "now"}])
def test_I001_is_silent_without_a_mode(settings, values):
    """Nothing is written, or the setting's own check speaks."""
    for name, value in values.items():
        setattr(settings, PREFIX + name, value)
    messages = run_checks(include_deployment_checks=True)
    assert "request_images.I001" not in [message.id for message in messages]
