"""An image reaches a browser so that it can be seen, and nothing else happens."""

from __future__ import annotations

import pytest
from PIL import Image

from request_images.admin.responses import original_response, thumbnail_response
from tests.factories import PICTURE, capture_queries, make_content, make_image
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db
HTML = b"<html><script>alert(document.domain)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def check_headers(response):
    """Check that no browser guesses the type, runs scripts or caches."""
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response["Cache-Control"] == "private, no-store"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Referrer-Policy"] == "no-referrer"


class TestOriginal:
    @pytest.mark.parametrize(
        ("fmt", "mime_type", "extension"),
        [
            ("AVIF", "image/avif", "avif"),
            ("BMP", "image/bmp", "bmp"),
            ("GIF", "image/gif", "gif"),
            ("JPEG", "image/jpeg", "jpg"),
            ("PNG", "image/png", "png"),
            ("WEBP", "image/webp", "webp"),
        ],
    )
    def test_safe_types_are_inline(self, fmt, mime_type, extension):
        """The response has the bytes as received and their type."""
        data = draw(fmt)
        image = make_image(data)
        response = original_response(image)
        assert response.content == data
        assert response["Content-Type"] == mime_type
        name = f"{image.image_hash[:16]}.{extension}"
        assert response["Content-Disposition"] == f'inline; filename="{name}"'
        check_headers(response)

    @pytest.mark.parametrize(
        ("data", "extension"),
        [
            (draw("TIFF"), "tif"),
            (draw("ICO"), "ico"),
            (draw("JPEG2000"), "jp2"),
            (draw("PPM"), "pnm"),
            (HTML, "bin"),
            (SVG, "bin"),
            (b"", "bin"),
        ],
        ids=["TIFF", "ICO", "JPEG2000", "PPM", "HTML", "SVG", "empty"],
    )
    def test_other_types_are_downloads(self, data, extension):
        """Unknown bytes, and types that may run scripts, are never inline."""
        response = original_response(make_image(data))
        assert response.content == data
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment; filename=")
        assert response["Content-Disposition"].endswith(f'.{extension}"')
        check_headers(response)

    @pytest.mark.parametrize("data", [HTML, SVG], ids=["HTML", "SVG"])
    @pytest.mark.parametrize("claim", ["image/png", "text/html", "image/svg+xml"])
    def test_type_is_detected_from_the_bytes(self, data, claim):
        """HTML whose row says it is an image is a download."""
        image = make_image(data, image={"mime_type": claim})
        response = original_response(image)
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment;")

    def test_missing_original_has_no_response(self):
        """There is nothing to serve."""
        assert original_response(make_image(kept=False)) is None

    def test_expired_original_has_no_response(self):
        """An original expires on read, before any cleanup."""
        assert original_response(make_image(days_old=31)) is None


class TestThumbnail:
    def test_thumbnail_is_a_webp(self):
        """It is small and has the headers of an original."""
        response = thumbnail_response(make_image())
        assert response["Content-Type"] == "image/webp"
        assert response.content[8:12] == b"WEBP"
        check_headers(response)

    @pytest.mark.parametrize("data", [HTML, SVG, PICTURE[:60]])
    def test_undrawable_image_has_a_placeholder(self, data):
        """A picture of ours that says so takes its place."""
        response = thumbnail_response(make_image(data))
        assert response.status_code == 302
        assert response["Location"] == "/static/request_images/no-thumbnail.svg"
        assert response["Cache-Control"] == "private, no-store"

    @trap("HOSTILE8")
    def test_bomb_is_refused_once(self, settings, monkeypatch):
        """HOSTILE8: too many pixels are never decoded."""
        settings.REQUEST_IMAGES_THUMBNAIL_MAX_PIXELS = 100
        settings.REQUEST_IMAGES_DECODER = "inline"
        image = make_image()
        monkeypatch.setattr(Image.Image, "resize", None)
        assert thumbnail_response(image).status_code == 302
        image.content.refresh_from_db()
        assert image.content.thumbnail_error == "32 x 24 pixels"

    def test_missing_content_has_no_thumbnail(self):
        """No content, no query."""
        image = make_image(kept=False)
        with capture_queries() as queries:
            assert thumbnail_response(image) is None
        assert queries == []

    def test_expired_thumbnail_has_no_response(self):
        """A thumbnail expires on read, too."""
        image = make_image(days_old=31)
        thumbnail = {"thumbnail": b"made before"}
        type(image.content).objects.filter(pk=image.content_id).update(**thumbnail)
        assert thumbnail_response(image) is None

    def test_content_deleted_between_two_queries(self):
        """A cleanup between two queries is no error."""
        image = make_image()
        image.content_id = make_content(draw(seed=1)).pk + 1000
        assert thumbnail_response(image) is None
