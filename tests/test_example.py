"""The example's solver, tested by HTTP requests."""

import base64
import io
import json
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
import zxingcpp
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from config import environment
from request_images.models import RequestLog
from solver.barcodes import TooManyPixels, read_barcodes

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent
TEXT = "What was asked"


def symbol(text=TEXT):
    """Return a QR code in grey."""
    pixels = memoryview(
        zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode).to_image(scale=4)
    )
    height, width = pixels.shape
    return Image.frombytes("L", (width, height), pixels.tobytes())


def file_of(image, extension="png", **options):
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, extension, **options)
    return file.getvalue()


def png_header(side):
    """Return the beginning of a PNG file that claims to be a large square."""
    header = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", b"")):
        checksum = zlib.crc32(name + data).to_bytes(4, "big")
        file += len(data).to_bytes(4, "big") + name + data + checksum
    return file


QR = file_of(symbol())
BLANK = file_of(Image.new("RGB", (60, 40), "white"))


def solve(body, content_type="image/png"):
    return Client().post(reverse("solver:solve"), body, content_type=content_type)


def solve_json(document):
    return solve(json.dumps(document), "application/json")


def solve_form(**files):
    uploads = {
        name: SimpleUploadedFile("photo.png", content, "image/png")
        for name, content in files.items()
    }
    return Client().post(reverse("solver:solve"), uploads)


def refusal(response):
    return response.status_code, response.json()["error"]


class TestEncodings:
    def check(self, response):
        assert response.status_code == 200
        answer = response.json()
        [barcode] = answer["barcodes"]
        assert barcode["text"] == TEXT
        assert barcode["format"] == "QRCode"
        assert barcode["orientation"] == 0
        assert len(barcode["position"]) == 4
        assert barcode["position"][0][0] < barcode["position"][1][0]
        assert (answer["width"], answer["height"]) == symbol().size
        assert answer["elapsed_ms"] > 0

    def test_form_field_image_is_preferred(self):
        self.check(solve_form(another=BLANK, image=QR))

    def test_first_file_of_a_form_is_read(self):
        self.check(solve_form(another=QR, third=BLANK))

    @pytest.mark.parametrize(
        "content_type", ["image/png", "image/whatever", "application/octet-stream"]
    )
    def test_raw_body_is_read(self, content_type):
        self.check(solve(QR, content_type))

    @pytest.mark.parametrize(
        "text",
        [
            base64.b64encode(QR).decode(),
            base64.urlsafe_b64encode(QR).decode().rstrip("="),
            base64.encodebytes(QR).decode(),
            "data:image/png;base64," + base64.b64encode(QR).decode(),
        ],
        ids=["plain", "urlsafe", "lines", "data-uri"],
    )
    def test_base64_in_json_is_read(self, text):
        self.check(solve_json({"image": text}))


class TestRefusals:
    def test_image_without_a_barcode_gets_422(self):
        response = solve(BLANK)
        assert refusal(response) == (422, "no_barcode")
        assert response.json()["barcodes"] == []
        assert response.json()["width"] == 60

    @pytest.mark.parametrize(
        "content",
        [
            b"only text",
            QR[: len(QR) // 2],
            QR[:20],
            file_of(Image.new("L", (9, 9)), "ico"),
        ],
        ids=["text", "cut-off", "head-only", "format-we-do-not-read"],
    )
    def test_file_that_is_not_an_image_gets_400(self, content):
        assert refusal(solve(content)) == (400, "not_an_image")

    def test_too_many_pixels_are_not_decoded(self):
        assert refusal(solve(png_header(8_000))) == (413, "too_many_pixels")

    @pytest.mark.parametrize("side", [10_000, 20_000], ids=["warning", "error"])
    def test_decompression_bomb_is_refused(self, side):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert refusal(solve(png_header(side))) == (413, "too_many_pixels")

    def test_pixel_limit_is_an_argument(self):
        with pytest.raises(TooManyPixels):
            read_barcodes(BLANK, max_pixels=60 * 40 - 1)
        assert read_barcodes(BLANK, max_pixels=60 * 40).barcodes == ()

    @pytest.mark.parametrize(
        "send",
        [
            lambda: solve_form(image=QR),
            lambda: solve(QR),
            lambda: solve_json({"image": base64.b64encode(QR).decode()}),
        ],
        ids=["form", "body", "json"],
    )
    def test_image_over_the_size_limit_gets_413(self, send, settings):
        settings.SOLVER_MAX_UPLOAD_MB = 1 / 8192
        response = send()
        assert refusal(response) == (413, "too_big")
        assert "larger than 0.00012207 MB" in response.json()["message"]

    def test_body_over_djangos_limit_gets_413(self, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
        assert refusal(solve(QR)) == (413, "too_big")

    @pytest.mark.parametrize("method", ["get", "put", "delete"])
    def test_other_methods_get_405(self, method):
        response = getattr(Client(), method)(reverse("solver:solve"))
        assert response.status_code == 405
        assert response["Allow"] == "POST"

    @pytest.mark.parametrize("content_type", ["text/plain", ""])
    def test_other_content_types_get_415(self, content_type):
        assert refusal(solve(QR, content_type)) == (415, "unsupported_media_type")

    def test_empty_file_gets_400(self):
        assert refusal(solve_form(image=b"")) == (400, "no_image")

    def test_empty_request_is_refused(self):
        assert refusal(Client().post(reverse("solver:solve"))) == (400, "no_image")

    def test_form_without_a_file_gets_400(self):
        response = Client().post(reverse("solver:solve"), {"image": "no file"})
        assert refusal(response) == (400, "no_image")

    def test_malformed_form_gets_400(self):
        response = solve(b"nonsense", "multipart/form-data")
        assert refusal(response) == (400, "bad_request")

    def test_form_with_too_many_files_gets_400(self, settings):
        settings.DATA_UPLOAD_MAX_NUMBER_FILES = 1
        response = solve_form(one=QR, two=QR)
        assert refusal(response) == (400, "bad_request")

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"{", "bad_json"),
            (b"\xff\xfe\xfd", "bad_json"),
            (b"[" * 200_000, "bad_json"),
            (b"[]", "no_image"),
            (b"{}", "no_image"),
            (b'{"image": 7}', "no_image"),
            (b'{"image": ""}', "no_image"),
            (b'{"image": "data:image/png;base64"}', "no_image"),
            (b'{"image": "not base64!"}', "bad_base64"),
            ('{"image": "bäse"}'.encode(), "bad_base64"),
            (b'{"image": "bm8gaW1hZ2U="}', "not_an_image"),
        ],
    )
    def test_json_without_an_image_gets_400(self, body, error):
        assert refusal(solve(body, "application/json")) == (400, error)


def deep(mode):
    """Return the symbol in a mode of more than eight bits, with a part of its range."""
    return symbol().convert("I").point(lambda grey: grey * 90 + 1_000).convert(mode)


def seen_through():
    """Return the symbol as opaque black on transparent black."""
    image = Image.new("RGBA", symbol().size, (0, 0, 0, 0))
    image.putalpha(symbol().point(lambda grey: 255 - grey))
    return image


class TestModes:
    @pytest.mark.parametrize(
        ("image", "extension"),
        [
            (symbol(), "png"),
            (symbol().convert("1"), "png"),
            (symbol().convert("RGB"), "jpeg"),
            (symbol().convert("RGB").convert("CMYK"), "jpeg"),
            (symbol().convert("P"), "gif"),
            (deep("I;16"), "png"),
            (deep("I"), "tiff"),
            (deep("F"), "tiff"),
            (seen_through(), "png"),
            (seen_through(), "webp"),
            (seen_through().convert("LA"), "png"),
        ],
        ids=lambda value: getattr(value, "mode", value),
    )
    def test_barcode_is_read_in_every_image_mode(self, image, extension):
        [barcode] = read_barcodes(file_of(image, extension)).barcodes
        assert barcode.text == TEXT

    def test_palette_with_a_transparent_colour_is_read(self):
        drawn = symbol().point(lambda grey: grey // 255)
        image = Image.frombytes("P", drawn.size, drawn.tobytes())
        image.putpalette([0, 0, 0, 0, 0, 0])
        [barcode] = read_barcodes(file_of(image, "png", transparency=1)).barcodes
        assert barcode.text == TEXT

    @pytest.mark.parametrize("mode", ["I;16", "F"])
    def test_uniform_deep_grey_is_no_error(self, mode):
        image = Image.new(mode, (40, 30), 700)
        assert read_barcodes(file_of(image, "tiff")).barcodes == ()


class TestUploadPage:
    url = "/"

    def test_form_has_the_url_of_the_api(self):
        page = Client().get(self.url)
        assert page.status_code == 200
        assert f'data-api="{reverse("solver:solve")}"' in page.content.decode()
        assert "<script>" not in page.content.decode()

    def test_page_shows_the_answer_without_javascript(self):
        client = Client(enforce_csrf_checks=True)
        client.get(self.url)
        form = {
            "csrfmiddlewaretoken": client.cookies["csrftoken"].value,
            "image": SimpleUploadedFile("photo.png", QR, "image/png"),
        }
        page = client.post(self.url, form)
        assert page.status_code == 200
        assert f"<b>{TEXT}</b> QRCode" in page.content.decode()

    def test_text_of_a_barcode_is_escaped(self):
        hostile = file_of(symbol("<script>alert(1)</script>"))
        upload = SimpleUploadedFile("photo.png", hostile, "image/png")
        page = Client().post(self.url, {"image": upload})
        assert "&lt;script&gt;alert(1)" in page.content.decode()

    def test_page_shows_the_error(self):
        page = Client().post(self.url, {})
        assert page.status_code == 400
        assert "The form has no file." in page.content.decode()

    def test_page_needs_a_csrf_token(self):
        assert Client(enforce_csrf_checks=True).post(self.url).status_code == 403
        response = Client(enforce_csrf_checks=True).post(
            reverse("solver:solve"), QR, content_type="image/png"
        )
        assert response.status_code == 200


class TestRecording:
    @pytest.fixture(autouse=True)
    def _enabled(self, settings):
        settings.REQUEST_IMAGES_ENABLED = True

    def test_success_is_recorded_with_its_metadata(self):
        solve(QR)
        log = RequestLog.objects.get()
        assert (log.endpoint, log.status_code) == ("solve", 200)
        assert log.metadata == {"formats": ["QRCode"], "barcode_count": 1}
        assert log.error_type == ""
        assert log.image.image_data == QR

    def test_failure_is_recorded_with_its_error_type(self):
        solve(BLANK)
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (422, "no_barcode")
        assert log.error_message == "No barcode was found."
        assert log.image.image_data == BLANK

    def test_page_is_recorded_as_an_endpoint_of_its_own(self):
        Client().get("/")
        upload = SimpleUploadedFile("photo.png", QR, "image/png")
        Client().post("/", {"image": upload})
        log = RequestLog.objects.get()
        assert (log.endpoint, log.status_code) == ("upload-page", 200)
        assert log.image.image_data == QR


class TestEnvironment:
    @pytest.mark.parametrize(
        ("text", "value"), [("true", True), ("ON", True), ("0", False), ("no", False)]
    )
    def test_flag_reads_common_spellings(self, monkeypatch, text, value):
        monkeypatch.setenv("A_FLAG", text)
        assert environment.flag("A_FLAG", default=not value) is value

    def test_unset_variables_have_defaults(self, monkeypatch):
        assert environment.flag("A_FLAG", default=True) is True
        assert environment.megabytes("A_SIZE", default=10) == 10
        assert environment.days("AN_AGE", default=30) == 30
        assert environment.secret_key("A_KEY", debug=True)
        monkeypatch.setenv("A_KEY", "our own")
        assert environment.secret_key("A_KEY", debug=False) == "our own"

    def test_retention_none_means_unlimited(self, monkeypatch):
        monkeypatch.setenv("AN_AGE", "None")
        assert environment.days("AN_AGE", default=30) is None

    @pytest.mark.parametrize(
        ("read", "text"),
        [
            (lambda: environment.flag("A_NAME", default=False), "ture"),
            (lambda: environment.flag("A_NAME", default=False), ""),
            (lambda: environment.megabytes("A_NAME", default=1), "ten"),
            (lambda: environment.megabytes("A_NAME", default=1), "0"),
            (lambda: environment.megabytes("A_NAME", default=1), "nan"),
            (lambda: environment.megabytes("A_NAME", default=1), "inf"),
            (lambda: environment.days("A_NAME", default=1), "0"),
            (lambda: environment.days("A_NAME", default=1), "-1"),
            (lambda: environment.days("A_NAME", default=1), "1.5"),
            (lambda: environment.secret_key("A_NAME", debug=False), ""),
            (lambda: environment.database("A_NAME", default=ROOT), "nonsense"),
            (lambda: environment.database("A_NAME", default=ROOT), "oops://a:b@c/d"),
        ],
    )
    def test_wrong_value_is_named_in_the_message(self, monkeypatch, read, text):
        monkeypatch.setenv("A_NAME", text)
        with pytest.raises(ImproperlyConfigured, match=r"^A_NAME must be"):
            read()

    def test_database_url_selects_the_database(self, monkeypatch):
        assert environment.database("A_URL", default=ROOT)["NAME"] == ROOT
        monkeypatch.setenv("A_URL", "postgres://me:pw@there/it")
        found = environment.database("A_URL", default=ROOT)
        assert (found["HOST"], found["NAME"]) == ("there", "it")
        assert "OPTIONS" not in found

    def test_manage_reports_a_wrong_setting_in_one_line_from_any_directory(
        self, tmp_path
    ):
        result = subprocess.run(
            [sys.executable, ROOT / "example_project" / "manage.py", "demo"],
            cwd=tmp_path,
            env={"SAVE_REQUEST_IMAGES": "perhaps", "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert result.stderr == (
            "Wrong settings: SAVE_REQUEST_IMAGES must be true or false, "
            "not 'perhaps'.\n"
        )
