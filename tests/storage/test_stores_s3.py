"""Bytes in a bucket: django-storages, boto3, and a server that speaks S3."""

from __future__ import annotations

import itertools
import socket

import boto3
import pytest
from botocore.config import Config
from django.core.files.storage import storages
from django.core.management import call_command
from django.test import Client
from moto import settings as moto_settings
from moto.server import ThreadedMotoServer

from request_images import health
from request_images.cleanup.retention import clean
from request_images.contents.delete_objects import delete_pending
from request_images.exceptions import ObjectMissing, StorageError
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.storage.stores import store_of
from tests.factories import until
from tests.image_files import draw
from tests.storage.test_encodings import HAS_LEPTON
from tests.storages import ALIAS, check, delete_now, keep, objects

pytestmark = pytest.mark.django_db
NUMBERS = itertools.count()
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}


@pytest.fixture(scope="module")
def server():
    """An S3 server on the loopback interface."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def client(server):
    """boto3's client of that server."""
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1", **KEYS)
    yield client
    client.close()


@pytest.fixture
def bucket(settings, server, client):
    """An empty bucket for new images."""
    name = f"images-{next(NUMBERS)}"
    client.create_bucket(Bucket=name)
    use(settings, server, name)
    return name


def use(settings, url, name, read_timeout=120):
    options = {
        "access_key": "key",
        "secret_key": "secret",
        "bucket_name": name,
        "endpoint_url": url,
        "region_name": "us-east-1",
        "client_config": Config(
            connect_timeout=120, read_timeout=read_timeout, retries={"max_attempts": 0}
        ),
    }
    backend = "storages.backends.s3.S3Storage"
    settings.STORAGES = {
        **settings.STORAGES,
        ALIAS: {"BACKEND": backend, "OPTIONS": options},
    }
    settings.REQUEST_IMAGES_STORAGE = ALIAS


@pytest.fixture
def _faulty():
    yield
    health.reset()


faulty = pytest.mark.usefixtures("_faulty")


def post(seed=0):
    response = Client().post("/body/", draw(seed=seed), content_type="image/png")
    assert response.status_code == 200
    return RequestLog.objects.first()


def test_save_read_delete(bucket, client):
    """An image is an object and is deleted with its row."""
    assert post().capture_status == "stored"
    assert RequestImage.objects.get().image_data == draw()
    [found] = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"] == ImageContent.objects.get().name
    assert found["Size"] == len(draw())
    check()
    image = RequestImage.objects.get()
    clean(until(image.created_at.replace(year=9000)), batch_size=10)
    assert delete_pending().deleted == 1
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_missing_object(bucket, client):
    """The bucket exists, the object does not."""
    [content] = keep(1)
    client.delete_object(Bucket=bucket, Key=content.name)
    with pytest.raises(ObjectMissing):
        content.read()
    store_of(ALIAS).delete(content.name)  # which is no error


@faulty
def test_refused_access_is_permanent(bucket, settings, tmp_path, monkeypatch):
    """The row has the reason, and no request is spooled."""
    [content] = keep(1)
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    with monkeypatch.context() as patch:
        # From now on the server looks at the key, and knows none.
        patch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        log = post(2)
        assert log.capture_status == "store_failed"
        assert "InvalidAccessKeyId" in log.capture_detail
        with pytest.raises(StorageError, match="403") as raised:
            content.read()
        assert not isinstance(raised.value, ObjectMissing)
    assert post(3).capture_status == "stored"
    assert content.read() == draw(seed=1)
    check()


@faulty
def test_missing_bucket_is_named(bucket, client):
    """Writing and reading report the missing bucket by name."""
    [content] = keep(1)
    client.delete_object(Bucket=bucket, Key=content.name)
    client.delete_bucket(Bucket=bucket)
    log = post()
    assert log.capture_status == "store_failed"
    assert "NoSuchBucket" in log.capture_detail
    with pytest.raises(StorageError, match="NoSuchBucket") as raised:
        content.read()
    assert not isinstance(raised.value, ObjectMissing)
    client.create_bucket(Bucket=bucket)
    assert post(2).capture_status == "stored"


@faulty
def test_silent_server_times_out(settings, tmp_path):
    """The server accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        use(settings, url, "images", read_timeout=0.1)
        log = post()
        assert log.capture_status == "store_failed"
        assert "Timeout" in log.capture_detail
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
        post(1)
        assert health.counts()["spooled"] == 1


@faulty
def test_missing_server_is_unavailable(settings):
    """No server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    use(settings, url, "images")
    assert "EndpointConnectionError" in post().capture_detail


def test_move_and_verify(bucket, settings, capsys):
    """Move images there and back; no problem and no object is left."""
    settings.REQUEST_IMAGES_STORAGE = None
    keep(*range(7))
    call_command("move_image_contents", to=ALIAS, batch_size=3)
    assert len(objects()) == 7
    check()
    call_command("verify_image_contents")
    assert "listed 7 objects" in capsys.readouterr().out
    storages[ALIAS].delete(min(objects()))
    with pytest.raises(SystemExit):
        call_command("verify_image_contents")
    call_command("verify_image_contents", repair=True)
    call_command("move_image_contents", to="database")
    check()
    delete_now()
    assert objects() == set()
    data = {content.read() for content in ImageContent.objects.all()}
    assert len(data) == 6
    assert data <= {draw(seed=seed) for seed in range(7)}


def test_compressed_image_is_readable(bucket, client, settings):
    """The object is another one with a readable name."""
    settings.REQUEST_IMAGES_ENCODINGS = ("zlib", "lepton") if HAS_LEPTON else ("zlib",)
    pictures = [draw("BMP"), *([draw("JPEG", (64, 48))] * HAS_LEPTON)]
    for data in pictures:
        Client().post("/body/", data, content_type="image/x")
    call_command("compress_image_contents", verbosity=0)
    delete_now()
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    sizes = {found["Key"]: found["Size"] for found in listed}
    contents = ImageContent.objects.exclude(encoding="")
    assert sizes == dict(contents.values_list("name", "stored_size"))
    assert len(sizes) == len(pictures)
    assert {image.image_data for image in RequestImage.objects.all()} == set(pictures)
    call_command("verify_image_contents", verbosity=0)
    for name in ("zlib", "lepton")[: len(pictures)]:
        call_command("compress_image_contents", undo=name, verbosity=0)
    delete_now()
    assert {content.read() for content in ImageContent.objects.all()} == set(pictures)
    assert len(objects()) == len(pictures)
