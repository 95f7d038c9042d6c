"""Each setting: its default, when it is read, and which values it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from request_images.conf import PREFIX, Conf, _Defaults, conf

DECLARATIONS = list(Conf.declarations())


async def waiting(request):
    """An async function, which no setting takes."""


RIGHT = {
    "ENABLED": [True, False],
    "MAX_SIZE_MB": [0.001, 1, 10_000],
    "MAX_REQUEST_MB": [0.001, 50, 10_000],
    "RETENTION_DAYS": [1, 10**12, None],
    "LOG_RETENTION_DAYS": [1, None],
    "FAILED_RETENTION_DAYS": [1, 90, None],
    "BYTES_RETENTION_DAYS": [1, 7, None],
    "MAX_STORED_MB": [0.5, 20_000, None],
    "ALLOWED_FORMATS": [["PNG"], ("PNG",), {"PNG"}, frozenset({"PNG"})],
    "METHODS": [["POST"], ("GET", "M-SEARCH")],
    "KEEP_UNREADABLE": [True, False],
    "KEEP_OTHER_FILES": [True, False],
    "REQUEST_ID_HEADER": ["X-Request-ID", "traceid", None],
    "CLEANUP_BATCH_SIZE": [1, 10_000],
    "THUMBNAIL_SIZE": [16, 1024],
    "THUMBNAIL_MAX_PIXELS": [1, 10**12],
    "THUMBNAIL_MAX_MEMORY_MB": [0.5, 10**6],
    "THUMBNAILS": ["on_demand", "task"],
    "ENCODINGS": [["zlib"], ("lepton",), {"zlib", "lepton"}],
    "COMPRESSION": ["by_command", "task"],
    "ANALYSIS": ["by_command", "task"],
    "WRITE_MODE": ["auto", "after_response", "background", "spool"],
    "AFTER_RESPONSE_SECONDS": [0.01, 0.2, 60],
    "DECODER": ["process", "inline"],
    "BACKLOG_MAX_MB": [0.5, 64, 10**6],
    "RUNNING_MAX_MB": [0.5, 256, 10**6],
    "BACKLOG_MAX_REQUESTS": [1, 10**6],
    "BACKLOG_WAIT_SECONDS": [0, 1, 60],
    "SHUTDOWN_SECONDS": [0, 0.5, 60],
    "LOCK_TIMEOUT_SECONDS": [0.01, 1, 60],
    "SPOOL_DIR": [None, "/var/spool/images", Path("/var/spool/images")],
    "SPOOL_MAX_MB": [0.5, 10**6],
    "SAMPLE_RATE": [0, 0.05, 1, 1.0],
    "SHOULD_CAPTURE": [None, bool, lambda request: True, "a.b", "a.b.c_1"],
    "TENANT": [None, str, lambda request: "acme", "a.b"],
    "TENANT_CONTEXT": [None, str, "a.b"],
    "SHOULD_KEEP": [None, bool, lambda log: 0.5, "a.b", "a.b.c_1"],
    "STORAGE": [None, "default", "a" * 63],
    "RELEASE": ["", "2.4.1", "x" * 100],
    "STATISTICS_RETENTION_DAYS": [1, 730, None],
}
WRONG = {
    "ENABLED": [None, 1, "true"],
    "MAX_SIZE_MB": [0, -1, "10", True, None, float("nan"), float("inf")],
    "MAX_REQUEST_MB": [0, -1, "50", True, None, float("nan"), float("inf")],
    "RETENTION_DAYS": [0, -1, 1.5, "30", True],
    "LOG_RETENTION_DAYS": [0, -1, 1.5, "30", False],
    "FAILED_RETENTION_DAYS": [0, -1, 1.5, "90", True],
    "BYTES_RETENTION_DAYS": [0, -1, 1.5, "7", False],
    "MAX_STORED_MB": [0, -1, "500", True, float("nan"), float("inf"), 1e308],
    "ALLOWED_FORMATS": ["PNG", [], None, [""], [1], {"PNG": 1}],
    "KEEP_UNREADABLE": [None, 1, "true"],
    "KEEP_OTHER_FILES": [None, 0, "failed"],
    "METHODS": ["POST", [], ["post"], None, [None]],
    "REQUEST_ID_HEADER": ["", "X Request", 5, "-", "X-Id:"],
    "CLEANUP_BATCH_SIZE": [0, 10_001, 1.0, None, True],
    "THUMBNAIL_SIZE": [15, 1025, "160"],
    "THUMBNAIL_MAX_PIXELS": [0, -1, 1e6],
    "THUMBNAIL_MAX_MEMORY_MB": [0, -1, "256", True, None, float("inf")],
    "DECODER": ["", "child", None, True],
    "THUMBNAILS": ["", "now", None, True],
    "ENCODINGS": ["zlib", [], None, ["brotli"], ["zlib", ""], [1]],
    "COMPRESSION": ["", "on_demand", None, True],
    "ANALYSIS": ["", "on_demand", None, True],
    "WRITE_MODE": ["", "now", None, True],
    "AFTER_RESPONSE_SECONDS": [0, 61, "1", True, None, float("nan")],
    "BACKLOG_MAX_MB": [0, -1, "64", True, None, float("nan"), float("inf")],
    "RUNNING_MAX_MB": [0, -1, "64", True, None, float("nan"), float("inf")],
    "BACKLOG_MAX_REQUESTS": [0, -1, 1.5, "9", True, None],
    "BACKLOG_WAIT_SECONDS": [-1, 61, "1", True, None, float("nan")],
    "SHUTDOWN_SECONDS": [-1, "5", True, None, float("nan"), float("inf")],
    "LOCK_TIMEOUT_SECONDS": [0, 61, "1", True, None, float("nan")],
    "SPOOL_DIR": [5, b"/spool", True, ["/spool"]],
    "SPOOL_MAX_MB": [0, -1, "512", True, None, float("inf")],
    "SAMPLE_RATE": [-0.1, 1.1, True, None, "0.5", float("nan")],
    "SHOULD_CAPTURE": [False, 1, "", "a", "a.b.", ".a.b", "1.a", "a b.c", waiting],
    "TENANT": [True, "acme", waiting],
    "TENANT_CONTEXT": [True, "acme", waiting],
    "SHOULD_KEEP": [True, 0.5, "", "a", "a.b.", "a:b", waiting],
    "STORAGE": ["", "database", "a" * 64, 5, True],
    "RELEASE": [None, 2, "x" * 101],
    "STATISTICS_RETENTION_DAYS": [0, -1, 1.5, "30", True],
}


def cases(values):
    return [(name, value) for name in values for value in values[name]]


def test_each_setting_has_cases():
    """No setting is declared without tests of right and wrong values."""
    names = {setting.name for setting in DECLARATIONS}
    assert names == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("setting", DECLARATIONS, ids=lambda setting: setting.name)
def test_declaration_is_complete(setting):
    """The default is valid, and the reference has a sentence."""
    assert setting.problem(setting.default) == ""
    assert setting.meaning.endswith(".")
    assert setting.full_name == f"REQUEST_IMAGES_{setting.name}"


def test_check_ids_are_distinct():
    """A check id identifies the wrong setting."""
    ids = [setting.check_id for setting in DECLARATIONS]
    # E011 checks the names within one setting.
    numbers = [*range(1, 11), *range(12, 42)]
    assert sorted(ids) == [f"request_images.E{number:03}" for number in numbers]


def test_defaults_are_those_of_the_design(settings):
    """Off by default; 10 MB; 30 days for images and a year for logs."""
    del settings.REQUEST_IMAGES_ENABLED
    assert conf.ENABLED is False
    assert conf.MAX_SIZE_MB == 10
    assert conf.RETENTION_DAYS == 30
    assert conf.LOG_RETENTION_DAYS == 365


def test_defaults_are_on_djangos_settings(settings):
    """Other code can read ``settings.REQUEST_IMAGES_...`` without a fallback."""
    assert settings.REQUEST_IMAGES_RETENTION_DAYS == 30
    assert _Defaults._meta.prefix == PREFIX.rstrip("_").lower()


@pytest.mark.parametrize(("name", "value"), cases(RIGHT))
def test_value_is_read_at_the_moment_of_use(settings, name, value):
    """A change of a setting takes effect, and so does its reversal."""
    before = getattr(settings, PREFIX + name)
    setattr(settings, PREFIX + name, value)
    assert getattr(conf, name) == value
    setattr(settings, PREFIX + name, before)
    assert getattr(conf, name) == before


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_wrong_value_is_refused_by_name(settings, name, value):
    """Reading a wrong value raises what Django raises for wrong settings."""
    setattr(settings, PREFIX + name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{PREFIX}{name} must be "):
        getattr(conf, name)


def test_value_is_checked_whenever_it_has_changed(monkeypatch):
    """Also if it is assigned without Django's signal, and to one that was read."""
    for _ in range(2):
        monkeypatch.setattr(django_settings, "REQUEST_IMAGES_SAMPLE_RATE", 0.5)
        assert (conf.SAMPLE_RATE, conf.SAMPLE_RATE) == (0.5, 0.5)
        monkeypatch.setattr(django_settings, "REQUEST_IMAGES_SAMPLE_RATE", 5)
        for _again in range(2):
            with pytest.raises(ImproperlyConfigured, match="SAMPLE_RATE"):
                _ = conf.SAMPLE_RATE


def test_class_attribute_is_the_declaration():
    """The reference documentation is generated from the declarations."""
    assert Conf.ENABLED.default is False
    assert Conf.ENABLED in DECLARATIONS
