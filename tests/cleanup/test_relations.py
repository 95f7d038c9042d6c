"""Rows of the host project that refer to ours: cleanup does to them as they say."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from request_images.cleanup import delete_rows, retention
from request_images.cleanup.report import Cleaned, Reason, Report
from request_images.cleanup.retention import preview
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.cutoffs import Retention
from tests.cleanup.test_retention import (
    ROWS,
    check_that_nothing_dangles,
    pauses,
    populate,
)
from tests.factories import (
    PICTURE,
    add_further,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
)
from tests.host.models import Album, Complaint, Label, Note, Order
from tests.image_files import draw
from tests.management.test_cleanup_old_images import run

__all__ = ("pauses",)
pytestmark = pytest.mark.django_db
IMAGES = Retention.of_days(30, None)
LOGS = Retention.of_days(30, 30)


class NoOrdersHere:
    """Routes orders and related rows to another database."""

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return False if model_name == "order" else None


def clean(kept_for: Retention, **options) -> Report:
    """Check that a cleanup does what its dry run says and leaves no orphan."""
    told = preview(kept_for, **options)
    report = retention.clean(kept_for, batch_size=100, **options)
    assert report == told
    check_that_nothing_dangles()
    return report


class TestDeletableRelations:
    """Relations with CASCADE or SET_NULL."""

    def test_cascade_deletes_the_row_with_the_log(self):
        """CASCADE works without a related name, too."""
        with_order, without = (make_image(draw(seed=n), days_old=40) for n in (1, 2))
        Order.objects.create(log=with_order.log)
        size = with_order.content.stored_size + without.content.stored_size
        assert clean(LOGS).by_reason == {Reason.LOG: Cleaned(2, 2, 2, size)}
        assert not Order.objects.exists()
        assert not RequestLog.objects.exists()

    def test_row_of_the_log_stays_without_the_image(self):
        """Only the image is deleted; the order refers to the request."""
        order = Order.objects.create(log=make_image(days_old=40).log)
        assert clean(IMAGES).by_reason == {
            Reason.SUCCESS: Cleaned(1, 1, 0, len(PICTURE))
        }
        order.refresh_from_db()
        assert order.log.capture_status == "expired"

    @pytest.mark.parametrize("kept_for", [IMAGES, LOGS])
    def test_set_null_clears_the_reference(self, kept_for):
        """SET_NULL works for further images, too."""
        image = make_image(days_old=40)
        label = Label.objects.create(image=image, further=add_further(image))
        album = Album.objects.create()
        album.images.add(image)
        assert clean(kept_for).total.images == 2
        label.refresh_from_db()
        assert (label.image, label.further) == (None, None)
        assert not album.images.exists()
        assert not FurtherImage.objects.exists()

    def test_of_a_log_without_an_image(self):
        """As any other."""
        Order.objects.create(log=make_log(days_old=40))
        assert clean(LOGS).by_reason == {Reason.LOG: Cleaned(logs=1)}

    def test_load_no_bytes(self):
        """Django loads the rows that it deletes, without their contents."""
        image = make_image(days_old=40)
        Label.objects.create(image=image, further=add_further(image, draw(seed=1)))
        with capture_queries() as queries:
            assert clean(LOGS).total.contents == 2
        assert loading_bytes(queries) == []

    def test_unreferenced_rows_cost_no_extra_query(self):
        """Rows without references are deleted as always."""
        Order.objects.create(log=make_log(days_old=1))
        make_image(days_old=40)
        with capture_queries() as queries:
            clean(LOGS)
        table = RequestLog._meta.db_table
        assert not [q for q in queries if f"DELETE FROM {Order._meta.db_table}" in q]
        assert sum(q.startswith("DELETE") and table in q[:50] for q in queries) == 1

    def test_relations_in_another_database_are_skipped(self, settings):
        """This database has no table of theirs."""
        settings.DATABASE_ROUTERS = [NoOrdersHere()]
        make_image(days_old=40)
        with capture_queries() as queries:
            assert retention.clean(LOGS, batch_size=10).total.logs == 1
        assert not [q for q in queries if Order._meta.db_table in q]
        assert [q for q in queries if Complaint._meta.db_table in q]

    def test_refused_deletion_keeps_its_batch(self, monkeypatch):
        """The database refuses one row, so its batch stays whole."""
        Order.objects.create(log=make_image(days_old=40).log)

        def fail(rows):
            raise DatabaseError("gone")

        monkeypatch.setattr(delete_rows, "_weigh", fail)
        with pytest.raises(DatabaseError, match="gone"):
            retention.clean(LOGS, batch_size=10)
        assert Order.objects.get().log.image.content.read() == PICTURE


class TestProtectedRelations:
    """PROTECT and RESTRICT keep the rows, not the bytes."""

    @pytest.mark.parametrize("number", range(5))
    def test_unprotected_rows_are_deleted(self, number):
        """Any row may be the protected one."""
        images = [make_image(draw(seed=n), days_old=50 - n) for n in range(5)]
        held = images[number]
        Complaint.objects.create(log=held.log)
        for image in images:
            Order.objects.create(log=image.log)
        report = clean(LOGS)
        assert report.held == {"host.Complaint": 1}
        assert report[Reason.LOG].logs == 4
        assert report[Reason.BYTES].images == 1
        assert RequestImage.objects.get() == held
        assert RequestLog.objects.get().capture_status == "expired"
        assert Order.objects.get().log == held.log
        assert not ImageContent.objects.exists()
        again = retention.clean(LOGS, batch_size=100)
        assert again == Report(held={"host.Complaint": 1})

    @pytest.mark.parametrize("kept_for", [IMAGES, LOGS])
    def test_protected_image_keeps_its_log(self, kept_for):
        """The log and the further images stay, without their bytes."""
        image = make_image(days_old=40)
        add_further(image, draw(seed=1))
        Complaint.objects.create(image=image)
        report = clean(kept_for)
        assert report.held == {"host.Complaint": 1}
        assert set(report.by_reason) == {Reason.BYTES}
        assert report.total.contents == 2
        assert FurtherImage.objects.get().capture_status == "expired"

    def test_protected_log_loses_its_image(self):
        """A relation to the log does not protect the image."""
        image = make_image(days_old=40)
        Complaint.objects.create(log=image.log)
        assert clean(IMAGES) == Report({Reason.SUCCESS: Cleaned(1, 1, 0, len(PICTURE))})

    def test_bytes_over_the_budget_go(self):
        """The budget deletes bytes only, no row."""
        Complaint.objects.create(image=make_image(days_old=1))
        report = clean(LOGS, max_bytes=1)
        assert set(report.by_reason) == {Reason.BUDGET}
        assert not report.held

    def test_protected_log_without_an_image_stays(self):
        """The log does not change."""
        Complaint.objects.create(log=make_log(days_old=40))
        assert clean(LOGS) == Report(held={"host.Complaint": 1})

    def test_relation_added_during_cleanup_is_respected(self, monkeypatch, pauses):
        """The next attempt sees the new relation."""
        image = make_image(days_old=40)
        spare, tries = delete_rows._spare_protected, []

        def meanwhile(going):
            found = spare(going)
            if not tries:
                Complaint.objects.create(image=image)
            tries.append(found)
            return found

        monkeypatch.setattr(delete_rows, "_spare_protected", meanwhile)
        report = retention.clean(LOGS, batch_size=10)
        assert report.held == {"host.Complaint": 1}
        assert len(tries) == 2

    def test_protected_rows_are_reported(self):
        """The command reports the models and the numbers."""
        for days in (400, 500):
            Complaint.objects.create(log=make_log(days_old=days))
        told = run("--dry-run")
        assert (
            "2 requests past their retention period keep their rows, because "
            "host.Complaint protects them. Their bytes are deleted.\n"
        ) in told
        assert run() == told.replace("Would delete", "Deleted")


HOLDERS = st.lists(
    st.sampled_from([None, None, "order", "log", "image", "label", "album"]),
    min_size=12,
    max_size=12,
)


def hold(log: RequestLog, holder: str | None) -> None:
    """Write a row of the host project that refers to a request, if possible."""
    image = RequestImage.objects.filter(log=log).first()
    if holder == "order":
        Order.objects.create(log=log)
    elif holder == "log":
        Complaint.objects.create(log=log)
    elif holder == "image":
        Complaint.objects.create(image=image)
    elif holder == "label" and image is not None:
        Label.objects.create(image=image, further=image.further.first())
    elif holder == "album" and image is not None:
        Album.objects.create().images.add(image)


@settings(
    # A server takes longer for each, and every run draws others.
    max_examples=20 if connection.vendor == "sqlite" else 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ROWS, HOLDERS, st.sampled_from([None, 10, 20]), st.sampled_from([None, 10, 20]))
def test_cleanup_does_what_its_dry_run_says(pauses, rows, holders, images, logs):
    """The dry run is right for any relations."""
    for model in (Order, Complaint, Label, Album, Note):
        model.objects.all().delete()
    populate(rows)
    for log, holder in zip(RequestLog.objects.order_by("pk"), holders, strict=False):
        hold(log, holder)
    kept_for = Retention.of_days(images, logs)
    told = preview(kept_for, max_bytes=300)
    assert retention.clean(kept_for, batch_size=2, max_bytes=300) == told
    check_that_nothing_dangles()
    connection.check_constraints()
    assert preview(kept_for, max_bytes=300) == Report(held=told.held)
