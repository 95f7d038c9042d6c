"""The admin's pages in a real browser: keys, no JavaScript, policy, accessibility.

Chromium of the system is driven through Playwright. Without either the tests are
skipped; the gate installs both.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from .factories import analysed, make_image, make_superuser
from .images import draw

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
axe = pytest.importorskip("axe_playwright_python", reason="axe is missing")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
AXE = Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
GALLERY = "/admin/request_images/requestimage/gallery/"
DASHBOARD = "/admin/request_images/requestlog/dashboard/"
PAGES = {
    "gallery": GALLERY,
    "beside": f"{GALLERY}?group=outcome",
    "errors": f"{GALLERY}?group=error_type",
    "layouts": f"{GALLERY}?group=layout",
    "looks": f"{DASHBOARD}looks/",
    "wrong": f"{GALLERY}?width=wide&outcome=failed",
    "nothing": f"{GALLERY}?width=1&days=7",
    "picture": "/admin/request_images/requestimage/{pk}/change/?outcome=failed",
    "accesses": "/admin/request_images/originalaccess/",
}


class Policy:
    """A middleware with the strictest policy that pages of one's own can have.

    One request at a time: all threads of the server share one database in memory.
    """

    lock = threading.Lock()

    def __init__(self, get_response: Callable[..., Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        with self.lock:
            response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", "default-src 'self'")
        return response


@pytest.fixture
def images(settings):
    settings.MIDDLEWARE = [f"{__name__}.Policy", *settings.MIDDLEWARE]
    found = [
        make_image(
            draw(seed=seed, size=(320, 240)),
            days_old=seed,
            **({"error_type": "no_barcode", "status_code": 422} if seed % 2 else {}),
        )
        for seed in range(6)
    ]
    for image in found[1:]:
        analysed(image)
    return found


@pytest.fixture
def server_url(images) -> Iterator[str]:
    """A live server of this test alone: it reads its middleware when it starts."""
    server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def browse(server_url) -> Callable[..., Any]:
    """Return a function that runs steps in a browser, logged in.

    In a thread of its own: Playwright runs an event loop, and where one runs Django
    refuses its database.
    """
    client = Client()
    client.force_login(make_superuser())
    cookie = {
        "name": project.SESSION_COOKIE_NAME,
        "value": client.cookies[project.SESSION_COOKIE_NAME].value,
        "url": server_url,
    }

    def browse(steps: Callable[[Any], Any], **options: Any) -> Any:
        # Playwright runs in a greenlet, in which not all is measured.
        def run() -> Any:  # pragma: no cover
            with _page(server_url, cookie, options) as page:
                return steps(page)

        with ThreadPoolExecutor(1) as executor:
            return executor.submit(run).result(timeout=120)

    return browse


@contextmanager
def _page(  # pragma: no cover  # as above
    url: str, cookie: Any, options: dict[str, Any]
) -> Iterator[Any]:
    faults: list[str] = []
    told: list[Any] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        context = browser.new_context(base_url=url, **options)
        context.add_cookies([cookie])
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        # A violation of the policy is told here, too.
        page.on("console", lambda message: told.append(message))  # noqa: PLW0108
        yield page
        browser.close()
    faults += [
        f"{message.location['url']}: {message.text}"
        for message in told
        # The test project has no icon.
        if message.type == "error" and "favicon" not in message.location["url"]
    ]
    assert faults == []


def tile(image: Any) -> str:
    return f'.ri-tile[href*="/{image.pk}/change/"]'


def test_from_the_gallery_to_a_picture_to_the_next_and_back(browse, images):
    """What failed, the first of it, the one behind it, and the gallery again."""

    def steps(page: Any) -> None:
        page.goto(GALLERY)
        page.get_by_role("link", name="Failed", exact=True).click()
        assert page.locator(".ri-tile").count() == 3
        page.locator(tile(images[1])).click()
        page.wait_for_url(f"**/{images[1].pk}/change/?outcome=failed")
        page.get_by_role("link", name="Next picture").click()
        page.wait_for_url(f"**/{images[3].pk}/change/?outcome=failed")
        page.get_by_role("link", name="Back to the gallery").click()
        page.wait_for_url(f"**/gallery/?outcome=failed&at={images[3].pk}")
        assert page.locator(".ri-tile").count() == 2
        page.get_by_role("link", name="Outcome: failed").click()
        page.wait_for_url("**/gallery/?")
        assert page.locator(".ri-tile").count() == 6

    browse(steps)


@pytest.fixture
def failing():
    """As many requests as a finding needs: all of one type fail, and no other."""
    bad = {"error_type": "no_barcode", "status_code": 422}
    return [
        make_image(draw(fmt, seed=number), **values)
        for number in range(30)
        for fmt, values in (("GIF", bad), ("BMP", {}))
    ]


def test_from_a_finding_to_its_pictures_and_back(browse, failing):
    """What fails, its pictures, one of them, and all the way back."""

    def steps(page: Any) -> None:
        page.goto(DASHBOARD)
        page.get_by_role("link", name="image/gif: 100").click()
        page.wait_for_url("**/gallery/?**mime_type=image%2Fgif&outcome=failed")
        assert page.locator(".ri-tile.ri-failed").count() == 30
        page.locator(".ri-tile").first.click()
        page.wait_for_url("**/change/?**mime_type=image%2Fgif&outcome=failed")
        page.get_by_role("link", name="Back to the gallery").click()
        page.wait_for_url("**/gallery/?**")
        page.go_back()
        page.go_back()
        page.go_back()
        page.wait_for_url(f"**{DASHBOARD}")
        assert page.locator(".ri-findings").is_visible()

    browse(steps)


def test_panels_without_javascript_are_pages(browse, failing):
    """The dashboard leads there, and they lead back."""

    def steps(page: Any) -> None:
        page.goto(f"{DASHBOARD}?days=7")
        page.get_by_role("link", name="Duration by megapixels").click()
        page.wait_for_url("**/dashboard/pixels/?days=7")
        assert page.locator("#pixels svg.ri-svg").is_visible()
        page.get_by_role("link", name="Back to the dashboard").click()
        page.wait_for_url("**/dashboard/?days=7")

    browse(steps, java_script_enabled=False)


def test_from_what_failed_pictures_look_like_to_their_layout(browse, failing):
    """A class, its pictures, one of them, and those of the same layout."""
    for image in failing:
        is_dark = image.log.is_failed
        analysed(image, **({"brightness": 20, "layout": "f" * 64} if is_dark else {}))

    def steps(page: Any) -> None:
        page.goto(f"{DASHBOARD}looks/")
        page.locator("svg a[href*='brightness=0-40']").first.click()
        page.wait_for_url("**/gallery/?**brightness=0-40&outcome=failed")
        assert page.locator(".ri-tile.ri-failed").count() == 30
        page.locator(".ri-tile").first.click()
        page.get_by_role("link", name="Pictures of the same layout").click()
        page.wait_for_url(f"**/gallery/?layout={'f' * 64}")
        assert page.locator(".ri-tile").count() == 30
        page.get_by_role("link", name="By layout").click()
        assert page.get_by_role("heading", name="30 pictures, 30 failed").is_visible()

    browse(steps, java_script_enabled=False)


def test_by_keys(browse, images):
    """Arrows choose a picture, Enter opens it, and they lead to its neighbours."""

    def steps(page: Any) -> None:
        page.goto(GALLERY)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.locator(tile(images[1])).evaluate(
            "element => element === document.activeElement"
        )
        page.keyboard.press("End")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/change/**")
        page.goto(f"/admin/request_images/requestimage/{images[2].pk}/change/")
        page.keyboard.press("ArrowLeft")
        page.wait_for_url(f"**/{images[1].pk}/change/?")
        page.keyboard.press("ArrowRight")
        page.wait_for_url(f"**/{images[2].pk}/change/?")
        # Who types is left alone.
        page.goto(GALLERY)
        page.locator(".ri-filter summary").click()
        page.locator("#ri-endpoint").fill("ab")
        page.keyboard.press("ArrowLeft")
        assert (
            page.locator("#ri-endpoint").evaluate("field => field.selectionStart") == 1
        )

    browse(steps)


def test_the_command_is_copied(browse, images):
    """Or chosen, where there is no clipboard."""

    def steps(page: Any) -> str:
        page.goto(f"/admin/request_images/requestimage/{images[0].pk}/change/")
        page.get_by_role("button", name="Copy").click()
        return page.evaluate("window.getSelection().toString()")

    assert browse(steps).startswith("curl -X POST ")


def test_without_javascript(browse, images):
    """The same way, and the filter's form."""

    def steps(page: Any) -> None:
        page.goto(GALLERY)
        page.locator(".ri-filter summary").click()
        page.locator("#ri-outcome").select_option("failed")
        page.locator("#ri-sort").select_option("oldest")
        page.get_by_role("button", name="Show").click()
        assert page.locator(".ri-tile").count() == 3
        page.locator(".ri-tile").first.click()
        page.wait_for_url(f"**/{images[5].pk}/change/?outcome=failed&sort=oldest")
        page.get_by_role("link", name="Next picture").click()
        page.wait_for_url(f"**/{images[3].pk}/change/**")
        assert not page.get_by_role("button", name="Copy").is_visible()

    browse(steps, java_script_enabled=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_and_fit(browse, images, scheme, width):
    """No finding of axe that is serious or critical; nothing to scroll sideways."""

    def steps(page: Any) -> dict[str, Any]:
        found = {}
        for name, url in PAGES.items():
            page.goto(url.format(pk=images[1].pk))
            # Foreign to the page, so for this test its policy is lifted.
            page.evaluate(AXE + "; null")
            # The search box of the lists is Django's own.
            result = page.evaluate("axe.run({exclude: ['#changelist-search']})")
            ours = [
                (violation["id"], [node["html"] for node in violation["nodes"]])
                for violation in result["violations"]
                if violation["impact"] in ("serious", "critical")
            ]
            wide = page.evaluate(
                "document.documentElement.scrollWidth - window.innerWidth"
            )
            found[name] = (ours, max(0, wide))
        return found

    size = {"width": width, "height": 800}
    found = browse(steps, color_scheme=scheme, viewport=size, bypass_csp=True)
    assert found == dict.fromkeys(PAGES, ([], 0))


def test_pictures_are_there(browse, images):
    """Each is a thumbnail that was drawn, in the place that was kept for it."""

    def steps(page: Any) -> list[int]:
        page.goto(GALLERY)
        page.wait_for_load_state("networkidle")
        return page.locator(".ri-tile img").evaluate_all(
            "images => images.map(image => image.naturalWidth)"
        )

    assert browse(steps) == [160] * 6
