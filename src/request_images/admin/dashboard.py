"""The dashboard in the admin: the findings, tiles and charts of a period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from request_images.aggregation.properties import ENDPOINT, PROMINENT
from request_images.charts import Chart
from request_images.conf import conf
from request_images.dashboard.figures import Figures
from request_images.dashboard.findings import findings
from request_images.dashboard.health import recent_losses
from request_images.dashboard.notation import reader_notation
from request_images.dashboard.overview import Overview
from request_images.dashboard.panels import PANELS, PanelInput
from request_images.db.transactions import without_transaction
from request_images.exceptions import TooManyRequests
from request_images.models import RequestImage, RequestLog
from request_images.query.criteria import DEFAULT_DAYS, Criteria, summaries
from request_images.query.fields import PERIOD
from request_images.query.links import Links

from .base import IMAGES, ReadOnlyAdmin

_PERIODS = (1, 7, 30, 90, 365)


class DashboardAdmin(ReadOnlyAdmin):
    """The dashboard of a period, and each of its panels as a page."""

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {
            "all": ("request_images/charts.css", "request_images/dashboard.css")
        }

    def get_urls(self) -> list[URLPattern]:
        """Return the URL of the dashboard, under the admin's name and ours, and panels.

        These pages may add up hours of statistics. They run outside a transaction, so
        that no other process waits for their locks.
        """
        page, panel = (
            without_transaction(self.admin_site.admin_view(view))
            for view in (self.dashboard_view, self.panel_view)
        )
        return [
            path("", page, name="request_images_dashboard_changelist"),
            path("", page, name="request_images_requestlog_dashboard"),
            path("<slug:panel>/", panel, name="request_images_requestlog_panel"),
        ]

    def dashboard_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the dashboard to whoever may see the list."""
        criteria = self._criteria(request)
        asked = self._asked(request, criteria)
        context = self._context(request, asked, gettext("Dashboard"))
        context["problems"] = [*recent_losses(), *criteria.problems]
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

    def _asked(self, request: HttpRequest, criteria: Criteria) -> PanelInput:
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

        return PanelInput(
            criteria,
            period,
            Links.of(self.url_of(page), criteria, period),
            reader_notation(),
            picture_url,
            thumbnail,
        )

    def _context(
        self, request: HttpRequest, asked: PanelInput, title: str
    ) -> dict[str, Any]:
        criteria = asked.criteria
        rest = criteria.without(*PERIOD)
        return {
            **self.page_context(request, title),
            "page_class": "ri-dashboard",
            "problems": criteria.problems,
            "chips": criteria.chips(),
            "criteria": criteria,
            "periods": [
                {
                    "text": ngettext("%(days)d day", "%(days)d days", days)
                    % {"days": days},
                    "query": rest.query(days=days),
                    "is_current": criteria.values.get("days", None) == days
                    or (days == DEFAULT_DAYS and not criteria.has_period),
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

    def _overview(self, overview: Overview, asked: PanelInput) -> dict[str, Any]:
        overview.read()
        context: dict[str, Any] = {
            "period": overview.period,
            "missing_hours": max(
                overview.now.missing_hours, overview.before.missing_hours
            ),
        }
        if not overview.whole.count:
            has_any = bool(overview.earlier.count) or RequestLog.objects.exists()
            return context | {"is_empty": True, "has_any": has_any}
        figures = Figures(overview, asked.links, asked.notation)
        rest = asked.criteria.without(*PERIOD)
        endpoints = overview.now.values(ENDPOINT)
        query = asked.criteria.query()
        return context | {
            "findings": findings(
                overview,
                asked,
                self._panel("storage", ""),
                self.url_of("requestlog_health"),
            ),
            "tiles": figures.tiles(has_endpoint=bool(rest.values)),
            "charts": _charts(figures),
            "panels": [
                {"name": name, "title": panel.title, "url": self._panel(name, query)}
                for name, panel in PANELS.items()
            ],
            "endpoints": [
                {
                    "text": name,
                    "query": asked.criteria.query(endpoint=name),
                    "is_current": asked.criteria.texts.get("endpoint") == name,
                }
                for name in endpoints
                if name
            ],
        }

    def _panel(self, name: str, query: str) -> str:
        return f"{self._dashboard_url(Criteria({}, {})).rstrip('?')}{name}/{query}"


def _charts(figures: Figures) -> list[Chart]:
    return [
        figures.durations(),
        figures.errors(),
        figures.failing(),
        figures.slow(),
        *map(figures.by, PROMINENT),
    ]
