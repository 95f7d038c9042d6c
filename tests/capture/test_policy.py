"""Sampling and opting out: no image, a row that says why, and weights that add up."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client, RequestFactory

from request_images import health, signals
from request_images.capture import policy
from request_images.decorators import capture_images
from request_images.middleware import RequestImagesMiddleware
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.outcome import annotate, is_opted_out, opt_out
from tests.factories import make_image
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db
IDS = [f"request-{number}" for number in range(1000)]


def post(url="/body/", *, seed=0, **extra):
    client = Client(raise_request_exception=False)
    data = draw(seed=seed)
    return client.post(url, data, content_type="image/png", **extra)


def never(request):
    """A function to name by its path."""
    return False


def failures(log):
    """Keep every failure and everything slow, and 5 % of the rest."""
    return log.is_failed or log.duration_ms > 1000 or 0.05


def watched_handlers(request):
    """Return how many upload handlers have a method that is not their class's."""
    return sum("new_file" in vars(each) for each in request.upload_handlers)


class Outcome:
    """What `SHOULD_KEEP` is asked about, as far as policy knows it."""

    def __init__(self, request_id, probability=1.0):
        self.request_id = request_id
        self.sample_probability = probability


class TestSamplePoint:
    """Where a request falls between 0 and 1."""

    def test_point_is_the_same_in_every_process(self):
        """The digest decides; Python's own hash differs from process to process."""
        code = (
            "import django; from django.conf import settings;"
            "settings.configure(INSTALLED_APPS=['request_images']); django.setup();"
            "from request_images.capture.policy import sample_point;"
            "print(sample_point('abc'))"
        )
        found = {
            subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            ).stdout.strip()
            for _ in range(2)
        }
        first = int.from_bytes(hashlib.sha256(b"abc").digest()[:8], "big") / 2**64
        assert found == {str(policy.sample_point("abc"))}
        assert policy.sample_point("abc") == pytest.approx(first)

    def test_point_is_below_1(self, monkeypatch):
        """A rate of 1 keeps everything, also the largest digest there is."""

        class Largest:
            def digest(self):
                return b"\xff" * 32

        monkeypatch.setattr(policy.hashlib, "sha256", lambda data: Largest())
        assert policy.sample_point("any") < 1.0

    @pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
    def test_points_are_spread_evenly(self, rate):
        """Even ids that are counted up are sampled with the rate that was asked for."""
        share = sum(policy.sample_point(i) < rate for i in IDS) / len(IDS)
        assert share == pytest.approx(rate, abs=0.05)


class TestRate:
    """`SAMPLE_RATE`: decided before the view, by the request id."""

    def test_rate_0_keeps_only_the_row(self, settings):
        """The log is whole but for its image, and no image row is made."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        assert post().status_code == 200
        log = RequestLog.objects.get()
        assert log.capture_status == "sampled_out"
        assert log.capture_detail == "kept with a probability of 0"
        assert log.sample_probability == 0
        assert log.endpoint == "body"
        assert log.status_code == 200
        assert log.upload_ms is None
        assert log.duration_ms > 0
        assert not RequestImage.objects.exists()
        assert not ImageContent.objects.exists()

    def test_request_outside_of_the_sample_has_no_tap(self, settings):
        """What is not in the sample costs no copy: the view gets the bare request."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        shadows = []

        @capture_images
        def view(request):
            shadows.append({"read", "readline"} & set(vars(request)))
            shadows.append(watched_handlers(request))
            request.FILES["photo"].read()
            return HttpResponse()

        photo = SimpleUploadedFile("photo.png", draw())
        view(RequestFactory().post("/", {"photo": photo}))
        assert shadows == [set(), 0]

    def test_request_outside_of_the_sample_has_no_early_tap(self, settings):
        """The optional middleware asks before it watches, and asks once."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        assert self.early(lambda request: None) == [set(), 0]
        assert RequestLog.objects.get().capture_status == "sampled_out"

    def test_opt_out_removes_the_early_tap(self):
        """A middleware may opt out behind ours."""
        assert self.early(opt_out) == [{"read", "readline"}, 2, set(), 0]
        assert RequestLog.objects.get().capture_status == "opted_out"

    @staticmethod
    def early(behind):
        """What watches a request before its view, if anything does, and in it."""
        seen = []

        def look(request):
            taps = {"read", "readline"} & set(vars(request))
            found = [taps, watched_handlers(request)]
            if found != seen:
                seen.extend(found)

        @capture_images
        def view(request):
            look(request)
            return HttpResponse(request.FILES["photo"].read())

        def get_response(request):
            middleware.process_view(request, view, (), {})
            look(request)
            behind(request)
            return view(request)

        middleware = RequestImagesMiddleware(get_response)
        photo = SimpleUploadedFile("photo.png", draw())
        request = RequestFactory().post("/", {"photo": photo})
        assert middleware(request).content == draw()
        return seen

    def test_default_keeps_everything(self):
        """A probability of 1 stands for itself."""
        post()
        log = RequestLog.objects.get()
        assert (log.capture_status, log.sample_probability) == ("stored", 1.0)

    def test_request_id_decides_the_sample(self, settings):
        """The same id has the same fate each time; the share of ids is the rate."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0.5
        ids = IDS[:20]
        expected = {i for i in ids if policy.sample_point(i) < 0.5}
        assert 0 < len(expected) < 20
        for _ in range(2):
            for request_id in ids:
                post(headers={"X-Request-ID": request_id})
        for log in RequestLog.objects.all():
            assert (log.capture_status != "sampled_out") == (log.request_id in expected)
            assert log.sample_probability == 0.5

    def test_nested_views_decide_once(self, settings):
        """The outermost decides for all."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        post("/drf/both/")
        assert RequestLog.objects.get().capture_status == "sampled_out"


class TestShouldCapture:
    """`SHOULD_CAPTURE`: asked before the view."""

    def test_no(self, settings):
        """The row says that it was opted out, and nothing is known of the image."""
        settings.REQUEST_IMAGES_SHOULD_CAPTURE = lambda r: not r.path.startswith("/b")
        post()
        post("/stream/")
        stream, body = RequestLog.objects.order_by("-path")
        assert (stream.path, stream.capture_status) == ("/stream/", "stored")
        assert body.capture_status == "opted_out"
        assert body.capture_detail == "SHOULD_CAPTURE said no"
        assert RequestImage.objects.get().log == stream

    def test_path_of_a_function(self, settings):
        """A dotted path does as well."""
        settings.REQUEST_IMAGES_SHOULD_CAPTURE = f"{__name__}.never"
        post()
        assert RequestLog.objects.get().capture_status == "opted_out"

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            (lambda request: 1 / 0, "ZeroDivisionError"),
            (lambda request: None, "TypeError"),
            ("no.such.function", "ModuleNotFoundError"),
            (5, "ImproperlyConfigured"),
        ],
    )
    def test_fault_keeps_the_image(self, settings, value, fault):
        """One that does not work is counted; the failure to study is not lost."""
        settings.REQUEST_IMAGES_SHOULD_CAPTURE = value
        assert post().status_code == 200
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {f"should_capture:{fault}": 1}
        health.reset()

    def test_function_is_not_called_for_unrecorded_requests(self, settings):
        """Disabled is free, and a GET is none of our business."""
        asked = []
        settings.REQUEST_IMAGES_SHOULD_CAPTURE = lambda r: not asked.append(r)
        Client().get("/off/")
        Client(raise_request_exception=False).get("/streamed/")
        settings.REQUEST_IMAGES_ENABLED = False
        post()
        assert asked == []


class TestShouldKeep:
    """`SHOULD_KEEP`: asked behind the response, with the outcome."""

    def test_no(self, settings):
        """All that is known of the image is kept, but for its bytes."""
        settings.REQUEST_IMAGES_SHOULD_KEEP = lambda log: False
        post()
        log = RequestLog.objects.get()
        assert (log.capture_status, log.sample_probability) == ("sampled_out", 0)
        assert log.image.image_hash == hashlib.sha256(draw()).hexdigest()
        assert (log.image.width, log.image.height) == (32, 24)
        assert log.image.content is None
        assert not ImageContent.objects.exists()

    def test_every_failure_and_a_part_of_the_rest(self, settings):
        """The example of the documentation, by its path, with the right weights."""
        settings.REQUEST_IMAGES_SHOULD_KEEP = f"{__name__}.failures"
        kept = next(i for i in IDS if policy.sample_point(i) < 0.05)
        not_kept = next(i for i in IDS if policy.sample_point(i) >= 0.05)
        for url in ("/body/", "/handled/"):
            for request_id in (kept, not_kept):
                post(url, headers={"X-Request-ID": request_id})
        rows = RequestLog.objects.values_list(
            "path", "request_id", "capture_status", "sample_probability"
        )
        assert set(rows) == {
            ("/body/", kept, "stored", 0.05),
            ("/body/", not_kept, "sampled_out", 0.05),
            ("/handled/", kept, "unread", 1.0),
            ("/handled/", not_kept, "unread", 1.0),
        }

    def test_function_sees_the_outcome(self, settings):
        """Status, error, duration and metadata are known by then; the row is not."""
        seen = []
        settings.REQUEST_IMAGES_SHOULD_KEEP = lambda log: not seen.append(log)

        @capture_images
        def view(request):
            annotate(request, error_type="too_dark", score=1)
            return HttpResponse(request.body, status=422)

        data = draw()
        view(RequestFactory().post("/", data, content_type="image/png"))
        [log] = seen
        assert log == RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (422, "too_dark")
        assert log.metadata == {"score": 1}
        assert log.duration_ms > 0
        assert log.capture_status == "stored"

    def test_sample_weights_add_up(self):
        """The images that are kept, each by its weight, are as many as there were."""
        logs = [Outcome(request_id, 0.8) for request_id in IDS]
        in_sample = [log for log in logs if policy.sample_point(log.request_id) < 0.8]
        kept = [log for log in in_sample if self.keeps(log)]
        weight = sum(1 / log.sample_probability for log in kept)
        assert {log.sample_probability for log in kept} == {0.4, 0.8}
        assert weight == pytest.approx(len(logs), rel=0.1)

    def keeps(self, log):
        with pytest.MonkeyPatch.context() as patch:
            is_even = log.request_id[-1] in "02468"
            answer = True if is_even else 0.5
            patch.setattr(
                "django.conf.settings.REQUEST_IMAGES_SHOULD_KEEP", lambda log: answer
            )
            return policy.decide_after_view(log).keeps

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            (lambda log: 1 / 0, "ZeroDivisionError"),
            (lambda log: None, "ValueError"),
            (lambda log: "yes", "ValueError"),
            (lambda log: 1.1, "ValueError"),
            (lambda log: -0.1, "ValueError"),
            (lambda log: float("nan"), "ValueError"),
            ("no.such.function", "ModuleNotFoundError"),
            ([], "ImproperlyConfigured"),
        ],
    )
    def test_fault_keeps_the_image(self, settings, value, fault):
        """One that does not work is counted, and the image is kept."""
        settings.REQUEST_IMAGES_SHOULD_KEEP = value
        assert post().status_code == 200
        log = RequestLog.objects.get()
        assert (log.capture_status, log.sample_probability) == ("stored", 1.0)
        assert health.faults() == {f"should_keep:{fault}": 1}
        health.reset()

    def test_function_is_not_called_without_an_image(self, settings):
        """The reason stays the reason: no image, too large, no image format."""
        asked = []
        settings.REQUEST_IMAGES_SHOULD_KEEP = asked.append
        post("/nothing/")
        Client().post("/body/", b"no picture", content_type="image/png")
        assert asked == []
        statuses = RequestLog.objects.values_list("capture_status", flat=True)
        assert set(statuses) == {"unread", "unsupported"}


class TestOptOut:
    """`opt_out`: the view's own word about one request."""

    def opted_out(self):
        log = RequestLog.objects.get()
        assert (log.capture_status, log.capture_detail) == ("opted_out", "")
        assert log.image_count == 0
        assert not RequestImage.objects.exists()
        assert not ImageContent.objects.exists()
        return log

    def test_opt_out_in_the_view(self):
        """Neither bytes nor hash, whenever in the view it is said."""

        @capture_images
        def view(request):
            assert request.body
            annotate(request, score=1)
            opt_out(request)
            return HttpResponse()

        view(RequestFactory().post("/", draw(), content_type="image/png"))
        assert self.opted_out().metadata == {"score": 1}

    def test_opt_out_in_a_view_that_fails(self):
        """A failure afterwards takes nothing back."""

        @capture_images
        def view(request):
            assert request.body
            opt_out(request)
            raise ValueError("afterwards")

        with pytest.raises(ValueError, match="afterwards"):
            view(RequestFactory().post("/", draw(), content_type="image/png"))
        assert self.opted_out().error_type == "ValueError"

    def test_opt_out_before_the_view(self):
        """As in a middleware: then no tap is installed either."""

        @capture_images
        def view(request):
            assert "read" not in vars(request)
            return HttpResponse(request.body)

        request = RequestFactory().post("/", draw(), content_type="image/png")
        opt_out(request)
        view(request)
        self.opted_out()

    def test_opt_out_after_the_view(self, settings):
        """A middleware may say it on the way back, before the row is written."""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.opting_out"]
        assert post().status_code == 200
        self.opted_out()

    @trap("WRAP6")
    def test_opt_out_within_rest_framework(self):
        """WRAP6: REST framework's request leads to Django's."""

        class Wrapper:
            def __init__(self, request):
                self._request = request

        request = RequestFactory().post("/")
        opt_out(Wrapper(request))
        assert is_opted_out(request)

    def test_opt_out_of_other_objects_does_nothing(self):
        """What is no request, and a request that is not recorded, are no errors."""
        opt_out(None)
        opt_out(object())
        request = RequestFactory().get("/")
        assert not is_opted_out(request)
        opt_out(request)
        assert is_opted_out(request)

    def test_opt_out_comes_before_the_sample(self, settings):
        """The reason is the person's, not the dice's."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        request = RequestFactory().post("/")
        opt_out(request)
        capture_images(lambda request: HttpResponse())(request)
        assert self.opted_out().sample_probability == 1.0


def opting_out(get_response):
    """A middleware that opts out of what has been answered."""

    def middleware(request):
        response = get_response(request)
        opt_out(request)
        return response

    return middleware


@pytest.mark.parametrize(
    "how", [{"SAMPLE_RATE": 0}, {"SHOULD_CAPTURE": lambda request: False}]
)
def test_skipped_requests_send_image_skipped(settings, how):
    """`image_skipped` is sent for them, with the reason on the log."""
    for name, value in how.items():
        setattr(settings, f"REQUEST_IMAGES_{name}", value)
    told = []

    def receiver(sender, log, image, **kwargs):
        told.append((log.capture_status, image))

    signals.image_skipped.connect(receiver)
    try:
        post()
    finally:
        signals.image_skipped.disconnect(receiver)
    [(status, image)] = told
    assert status in {"sampled_out", "opted_out"}
    assert image is None


PAGE = (Path(__file__).parents[2] / "docs/howto/sampling.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


class TestDocumentation:
    """What the page on sampling shows works."""

    def example(self, text):
        [code] = [code for code in EXAMPLES if text in code]
        return code

    def test_every_failure(self, settings):
        """The first example is the function that is tested above."""
        names = {}
        exec(self.example("def every_failure"), names)
        for log in (
            RequestLog(status_code=500, duration_ms=1),
            RequestLog(status_code=200, duration_ms=1001),
            RequestLog(status_code=200, duration_ms=1),
        ):
            assert names["every_failure"](log) == failures(log)

    def test_estimate(self):
        """Each image counts as many times as it stands for."""
        make_image(sample_probability=0.05)
        make_image(draw(seed=1))
        make_image(draw("GIF"), sample_probability=0.5)
        make_image(draw(seed=2), kept=False, sample_probability=0)
        imports, query = self.example("estimated=").rsplit("\n\n", 1)
        names = {}
        exec(imports, names)
        rows = eval(query, names).order_by()
        assert {row["mime_type"]: row["estimated"] for row in rows} == {
            "image/png": 21,
            "image/gif": 2,
        }
