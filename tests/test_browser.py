"""The admin's pages in a real browser: keys, panels, paper, policy, accessibility.

Chromium of the system is driven through Playwright. Without either the tests are
skipped; the gate installs both.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from request_images.dashboard.panels import PANELS
from request_images.exceptions import TooManyRequests
from request_images.models import RequestLog
from tests.factories import analysed, make_image, make_superuser
from tests.image_files import draw
from tests.servers.running import PATIENCE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
axe = pytest.importorskip("axe_playwright_python", reason="axe is missing")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.processes,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
AXE = Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
GALLERY = "/admin/request_images/gallery/"
DASHBOARD = "/admin/request_images/dashboard/"
LISTS = "/admin/request_images"
PAGES = {
    "dashboard": DASHBOARD,
    "no request": f"{DASHBOARD}?since=2001-01-01&until=2001-01-31",
    "latency": f"{DASHBOARD}latency/",
    "pixels": f"{DASHBOARD}pixels/",
    "repeated": f"{DASHBOARD}repeated/",
    "storage": f"{DASHBOARD}storage/",
    "gallery": GALLERY,
    "beside": f"{GALLERY}?group=outcome",
    "errors": f"{GALLERY}?group=error_type",
    "layouts": f"{GALLERY}?group=layout",
    "looks": f"{DASHBOARD}looks/",
    "wrong": f"{GALLERY}?width=wide&outcome=failed",
    "nothing": f"{GALLERY}?width=1&days=7",
    "picture": "/admin/request_images/requestimage/{pk}/change/?outcome=failed",
    "images": f"{LISTS}/requestimage/",
    "logs": f"{LISTS}/requestlog/?days=many",
    "health": f"{LISTS}/requestlog/health/",
    "accesses": f"{LISTS}/originalaccess/",
    "index": f"{LISTS}/",
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
    # Its own sharing ends when it stops. A thread of it whose connection the browser
    # keeps open ends later, and closes the database then.
    connection.inc_thread_sharing()
    yield server.url
    server.stop()
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    connection.dec_thread_sharing()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for all tests, and the only thread that may speak to it.

    Playwright runs an event loop, and where one runs Django refuses its database.
    """
    with ThreadPoolExecutor(1) as executor:
        playwright = executor.submit(sync_api.sync_playwright().start).result()
        browser = executor.submit(
            playwright.chromium.launch,
            executable_path=CHROMIUM,
            args=["--no-sandbox"],
        ).result()
        yield executor, browser
        executor.submit(browser.close).result()
        executor.submit(playwright.stop).result()


@pytest.fixture
def browse(server_url, chromium) -> Callable[..., Any]:
    """Return a function that runs steps in a browser, logged in."""
    executor, browser = chromium
    client = Client()
    client.force_login(make_superuser())
    cookie = {
        "name": project.SESSION_COOKIE_NAME,
        "value": client.cookies[project.SESSION_COOKIE_NAME].value,
        "url": server_url,
    }

    def browse(
        steps: Callable[[Any], Any], expected: Sequence[str] = (), **options: Any
    ) -> Any:
        # Playwright runs in a greenlet, in which not all is measured.
        def run() -> Any:  # pragma: no cover
            context = browser.new_context(base_url=server_url, **options)
            context.set_default_timeout(1000 * PATIENCE)
            with closing(context):
                context.add_cookies([cookie])
                with _watched(context.new_page(), expected) as page:
                    return steps(page)

        return executor.submit(run).result(timeout=10 * PATIENCE)

    return browse


@contextmanager
def _watched(  # pragma: no cover  # as above
    page: Any, expected: Sequence[str]
) -> Iterator[Any]:
    """Fail when a page tells of an error; a violation of its policy is one, too."""
    faults: list[str] = []
    told: list[Any] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: told.append(message),  # noqa: PLW0108  # it gets attributes
    )
    yield page
    faults += [
        f"{message.location['url']}: {message.text}"
        for message in told
        # The test project has no icon.
        if message.type == "error"
        and not any(part in message.location["url"] for part in ("favicon", *expected))
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


def test_panels_come_when_they_come_into_view(browse, busy):
    """Each with its drawing, its table and its links; above them nothing is fetched."""

    def steps(page: Any) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(DASHBOARD)
        assert [url for url in asked if "/storage/" in url] == []
        see_all(page)
        for name in ("heat", "pixels", "storage"):
            assert page.locator(f"[data-ri-panel] #{name} svg.ri-svg").is_visible()
        page.locator("#pixels summary").click()
        page.locator("#pixels tbody a").first.click()
        page.wait_for_url("**/requestimage/*/change/")
        page.go_back()
        page.locator("[data-ri-panel*='/repeated/']").scroll_into_view_if_needed()
        page.locator(".ri-repeated a").first.click()
        page.wait_for_url("**/gallery/?**hash=*")

    browse(steps)


def test_panels_that_do_not_come_say_so(browse, failing, monkeypatch):
    """An error, no answer, too many requests: the others come all the same."""

    def too_many(asked: Any) -> Any:
        raise TooManyRequests

    monkeypatch.setitem(PANELS, "repeated", replace(PANELS["repeated"], draw=too_many))

    def steps(page: Any) -> None:
        page.clock.install()
        page.route("**/dashboard/latency/*", lambda route: route.fulfill(status=500))
        # Never answered.
        page.route("**/dashboard/pixels/*", lambda route: None)
        page.goto(DASHBOARD)

        def panel(name: str) -> Any:
            found = page.locator(f"[data-ri-panel*='/{name}/']")
            found.scroll_into_view_if_needed()
            return found

        failed = panel("latency").get_by_text("This panel could not be loaded.")
        failed.wait_for()
        failed = panel("pixels").get_by_text("This panel could not be loaded.")
        assert failed.count() == 0
        panel("repeated").get_by_text("Choose a shorter period").wait_for()
        panel("storage").locator("svg.ri-svg").wait_for()
        page.clock.run_for(20_000)
        failed.wait_for()
        panel("repeated").get_by_role("link", name="7 days").click()
        page.wait_for_url("**/dashboard/?days=7")

    browse(steps, expected=["/dashboard/latency/"])


def test_on_paper(browse, busy):
    """Dark on white, also for who reads in the dark; nothing cut, nothing to press."""

    def steps(page: Any) -> dict[str, Any]:
        found = {}
        # The index is Django's own, with a link more.
        for name, url in [page for page in PAGES.items() if page[0] != "index"]:
            page.emulate_media(media="screen")
            page.goto(url.format(pk=busy[1].pk))
            see_all(page)
            page.emulate_media(media="print")
            found[name] = page.evaluate(ON_PAPER)
        return {name: wrong for name, wrong in found.items() if wrong}

    # As wide as A4 is within its margins.
    size = {"width": 720, "height": 1000}
    assert browse(steps, color_scheme="dark", viewport=size) == {}


ON_PAPER = """
() => {
  const content = document.querySelector("#content");
  const faint = new Set(), cut = new Set(), pressed = new Set();
  const shown = element => element.checkVisibility({visibilityProperty: true});
  for (const element of content.querySelectorAll("*")) {
    if (!shown(element) || element.closest(".ri-hidden, .ri-skip, .visually-hidden")) {
      continue;
    }
    const style = getComputedStyle(element);
    const hasText = Array.from(element.childNodes)
      .some(node => node.nodeType === 3 && node.textContent.trim());
    const channels = (element.closest("svg") ? style.fill : style.color)
      .match(/[0-9.]+/g)?.map(Number) ?? [0, 0, 0];
    // The perceived lightness of white is 255.
    const light = 0.3 * channels[0] + 0.59 * channels[1] + 0.11 * channels[2];
    if (hasText && light > 140) faint.add(element.outerHTML.slice(0, 90));
    if (element.scrollWidth > element.clientWidth + 1
        && ["auto", "scroll", "hidden"].includes(style.overflowX)
        && !element.closest("svg")) {
      cut.add(element.outerHTML.slice(0, 90));
    }
    if (element.matches(".object-tools, .ri-presets, .ri-filter, .ri-pages")) {
      pressed.add(element.outerHTML.slice(0, 90));
    }
  }
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  const wrong = {faint: [...faint], cut: [...cut], pressed: [...pressed], wide};
  return Object.values(wrong).some(value => value.length || value > 0) ? wrong : null;
}
"""


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
        page.get_by_role("link", name="Similar pictures").click()
        page.wait_for_url(f"**/gallery/?layout={'f' * 64}")
        assert page.locator(".ri-tile").count() == 30
        page.get_by_role("link", name="Similar pictures", exact=True).click()
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

    assert browse(steps).startswith("curl --path-as-is -X POST ")


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


@pytest.fixture
def busy(failing, images):
    """Something to draw for every chart: releases, sizes, repeated images."""
    RequestLog.objects.filter(status_code=422).update(release="2.4")
    RequestLog.objects.filter(status_code=200).update(release="2.3")
    for number in range(3):
        make_image(draw("WEBP", (900, 700)), days_old=number, release="2.3")
    return images


def see_all(page: Any) -> None:  # pragma: no cover  # in the browser's greenlet
    """Scroll down a page, panel by panel, as each is fetched."""
    for panel in page.locator("[data-ri-panel]").all():
        panel.scroll_into_view_if_needed()
        panel.locator("> :nth-child(2)").wait_for()


def test_pages_are_accessible_and_fit(browse, busy):
    """No finding of axe that is serious or critical; nothing to scroll sideways."""
    assert browse(lambda page: findings(page, busy[1].pk), bypass_csp=True) == {}


def findings(page: Any, pk: int) -> dict[Any, Any]:  # pragma: no cover  # as above
    """Return what is wrong with the pages, in light and dark, wide and on a phone."""
    found = {}
    for name, url in PAGES.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(url.format(pk=pk))
        see_all(page)
        # Foreign to the page, so for this test its policy is lifted.
        page.evaluate(AXE + "; null")
        # Django's links take their time to change their colour.
        page.add_style_tag(content="* { transition: none !important }")
        for width, scheme, rules in LOOKS:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            if wrong := page.evaluate(CHECK, rules):
                found[name, width, scheme] = wrong
    return found


# Nothing but colours differs between light and dark.
LOOKS = (
    (1280, "light", []),
    (1280, "dark", ["color-contrast"]),
    (390, "dark", ["color-contrast"]),
    (390, "light", []),
)
# The lists' search box is Django's own, named by nothing but a hint, and what is around
# pages.
CHECK = """
async rules => {
  const result = await axe.run(
    {
      include: [["#content"], [".ri-breadcrumbs"]],
      exclude: [["#searchbar"]],
    },
    {
      resultTypes: ["violations"],
      ...(rules.length ? {runOnly: {type: "rule", values: rules}} : {}),
    }
  );
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  return result.violations
    .filter(found => ["serious", "critical"].includes(found.impact))
    .map(found => [found.id, found.nodes.map(node => node.html)])
    .concat(wide > 0 ? [["sideways", wide]] : []);
}
"""


@pytest.mark.parametrize("has_scripts", [True, False])
def test_drawings_are_seen_whole(browse, busy, has_scripts):
    """No column is too narrow for what is drawn in it, with the menu or without."""

    def steps(page: Any) -> list[tuple[int, bool]]:  # pragma: no cover  # as above
        cut_off = []
        for width in (1280, 1366, 1440, 1600, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(DASHBOARD)
            if has_scripts:
                see_all(page)
            for is_open in (True, False):
                page.evaluate(MENU, is_open)
                if page.evaluate(CUT_OFF):
                    cut_off.append((width, is_open))
        return cut_off

    assert browse(steps, java_script_enabled=has_scripts) == []


def test_lists_show_their_last_column(browse, busy):
    """No column of a list is cut off beside the menu and the filters."""

    def steps(page: Any) -> list[tuple[str, int]]:  # pragma: no cover  # as above
        page.set_viewport_size({"width": 1440, "height": 900})
        cut_off = []
        for url in (PAGES["images"], f"{LISTS}/requestlog/"):
            page.goto(url)
            page.evaluate(MENU, True)
            if (wide := page.evaluate(BEYOND)) > 0:
                cut_off.append((url, wide))
        return cut_off

    assert browse(steps) == []


BEYOND = """() => {
  const results = document.querySelector("#changelist .results");
  return results.scrollWidth - results.clientWidth;
}"""


def test_charts_on_a_phone_begin_with_today(browse, busy):
    """Where a chart over time does not fit, its newest end is seen first."""

    def steps(page: Any) -> list[float]:  # pragma: no cover  # as above
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(DASHBOARD)
        return page.evaluate(HIDDEN)

    hidden = browse(steps)
    assert hidden
    assert max(hidden) <= 1


HIDDEN = """() => [...document.querySelectorAll(".ri-over-time")].map(
  drawing => drawing.getBoundingClientRect().right
    - drawing.parentElement.getBoundingClientRect().right
)"""


MENU = """is_open => {
  document.getElementById("main").classList.toggle("shifted", is_open);
  document.getElementById("nav-sidebar").style.display = is_open ? "" : "none";
}"""
CUT_OFF = """[...document.querySelectorAll(".ri-charts .ri-svg")]
  .filter(drawing => drawing.clientWidth > drawing.parentElement.clientWidth)
  .length"""


def test_pictures_are_there(browse, images):
    """Each is a thumbnail that was drawn, in the place that was kept for it."""

    def steps(page: Any) -> list[int]:
        page.goto(GALLERY)
        page.wait_for_load_state("networkidle")
        return page.locator(".ri-tile img").evaluate_all(
            "images => images.map(image => image.naturalWidth)"
        )

    assert browse(steps) == [160] * 6
