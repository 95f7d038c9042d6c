"""The gallery, and the page of one picture with a link back to the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from request_images.capture.sources import parse
from request_images.conf import conf
from request_images.exceptions import SourceError, TooManyRequests
from request_images.gallery import form
from request_images.gallery.gallery import PRESETS, Gallery, Page, Section
from request_images.gallery.rank import size_of, standing_of
from request_images.models import RequestImage, RequestLog
from request_images.outcome import UNUSABLE
from request_images.query import labels
from request_images.query.criteria import Criteria
from request_images.query.paging import MANY

from . import formatting
from .base import ACCESSES, LOGS, ORIGINALS, ReadOnlyAdmin
from .curl import NoCommand, curl_command
from .responses import file_name

_SAME = 12  # listed requests with the same image


class GalleryAdmin(ReadOnlyAdmin):
    """The gallery: request images as pictures."""

    def get_urls(self) -> list[URLPattern]:
        """Return the URL of the gallery under Django's name and ours."""
        view = self.admin_site.admin_view(self.gallery_view)
        names = ("gallery_changelist", "requestimage_gallery")
        return [path("", view, name=f"request_images_{name}") for name in names]

    def gallery_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the gallery to users who may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        gallery = Gallery(request.GET)
        page, count, is_too_many = Page([]), "", False
        try:
            page = gallery.page()
            count = "" if gallery.group else _counted(gallery.walk.count)
        except TooManyRequests:
            is_too_many = True
        is_empty = not any(section.images for section in page.sections)
        context = {
            **self.page_context(request, gettext("Gallery")),
            "page_class": "ri-gallery",
            "gallery": gallery,
            "problems": gallery.problems,
            "chips": gallery.criteria.chips(sort=gallery.own_sort, group=gallery.group),
            "presets": self._presets(gallery),
            "form": form.fields_of(gallery, page),
            "sections": [
                {"section": s, "tiles": self._tiles(gallery, s), "more": self._more(s)}
                for s in page.sections
            ],
            "page": page,
            "many": MANY,
            "count": count,
            "before_url": page.before and gallery.query(before=page.before.pk),
            "next_url": page.next_start and gallery.query(at=page.next_start.pk),
            "first_url": page.before and gallery.query(),
            "tools": self._gallery_tools(request, gallery),
            "is_empty": is_empty,
            "requests_url": self._requests_url(request, gallery),
            "is_too_many": is_too_many,
            "periods": [] if not is_too_many else form.periods_of(gallery),
            "is_enabled": conf.ENABLED,
            "has_any": not is_empty or RequestImage.objects.exists(),
        }
        return TemplateResponse(request, "request_images/admin/gallery.html", context)

    def _presets(self, gallery: Gallery) -> list[dict[str, Any]]:
        # A preset replaces the outcome, the order and the groups; other criteria stay.
        rest = gallery.criteria.without("outcome")
        presets = []
        for label, parameters in PRESETS.values():
            own = dict(parameters)
            outcome = own.pop("outcome", None)
            criteria = rest.having(outcome=outcome) if outcome else rest
            is_current = (
                own.get("sort", "") == gallery.own_sort
                and own.get("group", "") == gallery.group
                and outcome == gallery.criteria.texts.get("outcome")
            )
            query = criteria.query(**own)
            presets.append({"text": label, "query": query, "is_current": is_current})
        return presets

    def _gallery_tools(
        self, request: HttpRequest, gallery: Gallery
    ) -> Iterable[tuple[str, str]]:
        query = gallery.criteria.query()
        yield gettext("List"), self.url_of("requestimage_changelist") + query
        if request.user.has_perm(LOGS):
            yield gettext("Dashboard"), self.url_of("requestlog_dashboard") + query
            yield gettext("CSV"), self.url_of("requestlog_csv") + query

    def _requests_url(self, request: HttpRequest, gallery: Gallery) -> str:
        # A link may count requests without a picture; this leads to them.
        if not request.user.has_perm(LOGS):
            return ""
        return self.url_of("requestlog_changelist") + gallery.criteria.query()

    def _tiles(self, gallery: Gallery, section: Section) -> list[dict[str, Any]]:
        notes = section.notes or [""] * len(section.images)
        query = gallery.query(section.criteria)
        return [
            {
                "url": self.url_of("requestimage_change", image.pk) + query,
                "picture": self.thumbnail_of(image),
                "status": labels.status(image.log),
                "is_failed": image.log.is_failed,
                "facts": _facts(image),
                "note": note,
            }
            for image, note in zip(section.images, notes, strict=True)
        ]

    def _more(self, section: Section) -> str:
        return section.criteria.query() if section.more else ""


class PicturePage(ReadOnlyAdmin):
    """The page of one picture, with a link back to the gallery."""

    change_form_template = "request_images/admin/picture.html"

    def render_change_form(  # noqa: PLR0913, PLR0917  # Django's own signature
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Add the neighbours, the same and similar images, and the download links."""
        context.update(self._neighbours(request, obj))
        context.update(self._downloads(request, obj))
        return super().render_change_form(
            request, context, add=add, change=change, form_url=form_url, obj=obj
        )

    def _neighbours(self, request: HttpRequest, image: RequestImage) -> dict[str, Any]:
        gallery = Gallery(request.GET)
        query = gallery.query()
        all_pictures = self.url_of("requestimage_gallery")

        def page_of(find: Callable[[RequestImage], Sequence[RequestImage]]) -> str:
            # The page works without neighbours if finding them takes too long.
            pks: list[int] = []
            with suppress(TooManyRequests):
                pks = [row.pk for row in find(image)]
            return self.url_of("requestimage_change", *pks) + query if pks else ""

        return {
            "problems": gallery.problems,
            "chips": gallery.criteria.chips(sort=gallery.own_sort, group=gallery.group),
            "previous_url": page_of(gallery.walk.before),
            "next_url": page_of(gallery.walk.after),
            "gallery_url": all_pictures + _back(gallery, image),
            "standing": _standing_in_words(image),
            "same": self._same(image),
            "same_url": self.same_url(image),
            "similar_url": all_pictures + _similar(image),
        }

    def same_image(self, image: RequestImage) -> QuerySet[RequestLog]:
        """Return the requests with the same image, also as a further image."""
        same = Criteria({}, {}).having(hash=image.image_hash)
        return same.apply(RequestLog.objects.all())

    def same_url(self, image: RequestImage) -> str:
        """Return the URL of the list of requests with the same image."""
        # Not the gallery, which shows only the first image of each request.
        return f"{self.url_of('requestimage_changelist')}?q={image.image_hash}"

    def _same(self, image: RequestImage) -> Sequence[Mapping[str, Any]]:
        if not image.image_hash:
            return []
        logs = self.same_image(image).exclude(pk=image.log_id).select_related("image")
        logs = logs.defer("metadata", "error_message")
        return [
            {
                "url": self.url_of("requestimage_change", log.image.pk),
                "time": log.created_at,
                "endpoint": log.endpoint,
                "status": labels.status(log),
                "duration": labels.milliseconds(log.duration_ms),
            }
            for log in logs[:_SAME]
        ]

    def _downloads(self, request: HttpRequest, image: RequestImage) -> dict[str, Any]:
        links = {}
        if request.user.has_perm(ACCESSES) and image.image_hash:
            url = self.url_of("originalaccess_changelist")
            links["accesses_url"] = f"{url}?q={image.image_hash}"
        is_there = image.content_id is not None and not image.is_expired
        if not (is_there and request.user.has_perm(ORIGINALS)):
            return links
        if image.log.capture_status not in UNUSABLE:
            links["original_url"] = self.url_of("requestimage_original", image.pk)
        return links | {
            "body_url": self.url_of("requestimage_body", image.pk),
            **_curl(request, image),
        }


def _back(gallery: Gallery, image: RequestImage) -> str:
    """Return the query string of the gallery page with a picture."""
    if not gallery.group:
        return gallery.query(at=image.pk)
    # The criterion of the group applies to the neighbours, not to the groups.
    return gallery.query(gallery.criteria.without(gallery.group))


def _counted(count: int) -> str:
    if count > MANY:
        text = gettext("more than %s requests with an image")
        return text % number_format(MANY, use_l10n=True)
    # Not pictures: the bytes of some were not stored, or were deleted.
    text = ngettext(
        "%(count)d request with an image", "%(count)d requests with an image", count
    )
    return text % {"count": count}


def _facts(image: RequestImage) -> list[str]:
    size = None if image.file_size is None else filesizeformat(image.file_size)
    facts = (
        labels.milliseconds(image.log.duration_ms),
        formatting.dimensions(image),
        size,
        image.log.endpoint,
    )
    return [fact for fact in facts if fact]


def _similar(image: RequestImage) -> str:
    size = size_of(image)
    texts = {
        "endpoint": image.log.endpoint,
        "megapixels": size and size.name,
        "mime_type": image.mime_type,
        "outcome": "failed" if image.log.is_failed else "succeeded",
    }
    return Criteria({}, {}).query(**texts)


def _standing_in_words(image: RequestImage) -> str:
    standing = standing_of(image)
    return "" if standing is None else formatting.standing(standing, image.log.endpoint)


def _curl(request: HttpRequest, image: RequestImage) -> dict[str, str]:
    """Return the command that sends the image again, or the reason why none does."""
    try:
        [source] = parse(image.source or "files.image")
    except SourceError:
        return {}
    # Not `build_absolute_uri`: a path that begins with "//" would name the host.
    url = f"{request.scheme}://{request.get_host()}{quote(image.log.path)}"
    try:
        command = curl_command(
            method=image.log.method,
            url=url,
            source=source,
            mime_type=image.mime_type,
            file_name=file_name(image),
        )
    except NoCommand as error:
        return {"no_curl": str(error)}
    return {"curl": command}
