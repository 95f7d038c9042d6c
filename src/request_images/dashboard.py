"""The dashboard in the admin: what there is to know of a period, and its panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from .charts import Chart, Heading
from .conf import conf
from .criteria import DEFAULT_DAYS, Criteria
from .exceptions import TooManyRequests
from .facets import Facet
from .figures import Figures
from .language import reader_notation
from .leasing import last_ended
from .limits import without_transaction
from .links import Links
from .models import RequestImage, RequestLog
from .overview import Overview, summaries
from .panels import PANELS, Asked
from .periods import Period
from .readonly import IMAGES, ReadOnlyAdmin
from .sentences import Sentence, Writer
from .stock import since_ever, stock_of
from .summary import summarize
from .vocabulary import PERIOD

_PERIODS = (1, 7, 30, 90, 365)
_STOCK_DAYS = 30


class DashboardPages(ReadOnlyAdmin):
    """Shows what there is to know of a period, first in words."""

    def get_urls(self) -> list[URLPattern]:
        """Add the dashboard, and each of its panels as a page."""
        # Their readers may add hours up, which others would wait for.
        page, panel = (
            without_transaction(self.admin_site.admin_view(view))
            for view in (self.dashboard_view, self.panel_view)
        )
        name = "request_images_requestlog"
        return [
            path("dashboard/", page, name=f"{name}_dashboard"),
            path("dashboard/<slug:panel>/", panel, name=f"{name}_panel"),
            *super().get_urls(),
        ]

    def dashboard_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the dashboard to whoever may see the list."""
        criteria = self._criteria(request)
        asked = self._asked(request, criteria)
        context = self._context(request, asked, gettext("Dashboard"))
        try:
            now, before = summaries(criteria, [asked.period, asked.period.before])
        except TooManyRequests:
            context["is_too_many"] = True
        else:
            context |= self._overview(Overview(now, before), asked)
        return TemplateResponse(request, "request_images/admin/dashboard.html", context)

    def panel_view(self, request: HttpRequest, panel: str) -> HttpResponseBase:
        """Show one panel, which the dashboard fetches when it comes into view."""
        criteria = self._criteria(request)
        if panel not in PANELS:
            raise Http404
        asked = self._asked(request, criteria)
        context = self._context(request, asked, str(PANELS[panel].title))
        context["dashboard_url"] = self._dashboard_url(criteria)
        try:
            context |= PANELS[panel].draw(asked)
        except TooManyRequests:
            context["is_too_many"] = True
        return TemplateResponse(request, "request_images/admin/panel.html", context)

    def _criteria(self, request: HttpRequest) -> Criteria:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return Criteria.of_form(request.GET)

    def _dashboard_url(self, criteria: Criteria) -> str:
        return self.url_of("requestlog_dashboard") + criteria.query()

    def _asked(self, request: HttpRequest, criteria: Criteria) -> Asked:
        sees_images = request.user.has_perm(IMAGES)
        page = "requestimage_gallery" if sees_images else "requestlog_changelist"
        period = criteria.period()
        picture = self.url_of("requestimage_change", 0)

        def picture_url(pk: int) -> str:
            # To reverse a URL for each of two thousand marks would take longer than
            # everything else.
            return picture.replace("/0/", f"/{pk}/") if sees_images else ""

        def thumbnail(image: RequestImage) -> SafeString | str:
            return self.thumbnail_of(image) if sees_images else ""

        return Asked(
            criteria,
            period,
            Links(self.url_of(page), _texts_of_links(criteria, period)),
            reader_notation(),
            picture_url,
            thumbnail,
        )

    def _context(
        self, request: HttpRequest, asked: Asked, title: str
    ) -> dict[str, Any]:
        criteria = asked.criteria
        rest = criteria.without(*PERIOD)
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "problems": criteria.problems,
            "chips": criteria.chips(),
            "criteria": criteria,
            "periods": [
                {
                    "text": ngettext("%(days)d day", "%(days)d days", days)
                    % {"days": days},
                    "query": rest.query(days=days),
                    "is_current": criteria.values.get("days", None) == days
                    or (days == DEFAULT_DAYS and not _has_period(criteria)),
                }
                for days in _PERIODS
            ],
            "is_enabled": conf.ENABLED,
            "tools": self._leads(request, asked.links),
        }

    def _leads(self, request: HttpRequest, links: Links) -> Iterator[tuple[str, str]]:
        pages = {"requestlog_changelist": gettext("List")}
        if request.user.has_perm(IMAGES):
            pages = {"requestimage_gallery": gettext("Gallery"), **pages}
        for page, title in pages.items():
            yield title, replace(links, url=self.url_of(page)).to()
        yield gettext("Health"), self.url_of("requestlog_health")

    def _overview(self, overview: Overview, asked: Asked) -> dict[str, Any]:
        overview.read()
        context: dict[str, Any] = {
            "period": overview.period,
            "missing": _missing(overview),
        }
        if not overview.whole.count:
            has_any = bool(overview.earlier.count) or RequestLog.objects.exists()
            return context | {"is_empty": True, "has_any": has_any}
        figures = Figures(overview, asked.links, asked.notation)
        rest = asked.criteria.without(*PERIOD)
        endpoints = overview.now.values(Facet.ENDPOINT)
        query = asked.criteria.query()
        return context | {
            "sentences": list(
                _sentences(
                    overview,
                    asked,
                    self._panel("storage", ""),
                    self.url_of("requestlog_health"),
                )
            ),
            "tiles": figures.tiles(has_endpoint=bool(rest.values)),
            "charts": _charts(figures),
            "panels": [
                {"name": name, "title": panel.title, "url": self._panel(name, query)}
                for name, panel in PANELS.items()
            ],
            "endpoints": [
                {
                    "name": name,
                    "query": asked.criteria.query(endpoint=name),
                    "is_current": asked.criteria.texts.get("endpoint") == name,
                }
                for name in endpoints
                if name
            ],
        }

    def _panel(self, name: str, query: str) -> str:
        return f"{self._dashboard_url(Criteria({}, {})).rstrip('?')}{name}/{query}"


def _missing(overview: Overview) -> str:
    hours = max(overview.now.missing_hours, overview.before.missing_hours)
    if not hours:
        return ""
    text = ngettext(
        "%(hours)d hour is not counted yet.",
        "%(hours)d hours are not counted yet.",
        hours,
    )
    return text % {"hours": hours}


def _texts_of_links(criteria: Criteria, period: Period) -> Mapping[str, str]:
    """Return the parameters of the requests that are counted, for every page."""
    # Other pages round no moment to whole hours, and take no time for all of it.
    if not _has_period(criteria):
        return {**criteria.texts, "days": str(DEFAULT_DAYS)}
    if "days" in criteria.texts:
        return criteria.texts
    return criteria.within(period).texts


def _has_period(criteria: Criteria) -> bool:
    return any(name in criteria.texts for name in PERIOD)


def _charts(figures: Figures) -> list[Chart]:
    classes = (
        (Facet.MEGAPIXELS, "megapixels", gettext("By megapixels")),
        (Facet.FILE_SIZE, "sizes", gettext("By file size")),
        (Facet.MIME_TYPE, "formats", gettext("By format")),
    )
    return [
        figures.durations(),
        figures.errors(),
        figures.failing(),
        figures.slow(),
        *(
            figures.classes(facet, Heading(name, title))
            for facet, name, title in classes
        ),
    ]


def _sentences(
    overview: Overview, asked: Asked, storage_url: str, health_url: str
) -> Iterator[Sentence]:
    """Yield what is to be said, bad news first."""
    found = list(_all_sentences(overview, asked, storage_url, health_url))
    yield from sorted(found, key=lambda sentence: not sentence.is_bad)


def _all_sentences(
    overview: Overview, asked: Asked, storage_url: str, health_url: str
) -> Iterator[Sentence]:
    writer = Writer(asked.notation, asked.links)
    yield from writer.comparing(overview)
    yield from writer.of_dropped(overview.now.values(Facet.CAPTURE_STATUS))
    if conf.MAX_STORED_MB is not None:
        period = Period.last_days(_STOCK_DAYS)
        days = stock_of(summarize(since_ever(period)), period).days_left()
        if days is not None:
            yield writer.of_storage(days, storage_url)
    yield from _of_cleanup(writer, health_url)


def _of_cleanup(writer: Writer, health_url: str) -> Iterator[Sentence]:
    days = conf.RETENTION_DAYS
    oldest = RequestImage.objects.order_by("created_at").first()
    if days is not None and oldest is not None:
        now = timezone.now()
        waiting = now - oldest.created_at - timedelta(days=days)
        ran_at = last_ended("cleanup")
        yield from writer.of_cleanup(ran_at, waiting, now, health_url)
