"""The URLs of thumbnails and originals."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext

from request_images.db.transactions import without_transaction
from request_images.health import report
from request_images.models import FurtherImage, ReceivedImage, RequestImage
from request_images.models.access import OriginalAccess, record_access

from .base import ORIGINALS, ReadOnlyAdmin
from .responses import original_response, text_response, thumbnail_response


class PictureFiles(ReadOnlyAdmin):
    """Serves the thumbnails and originals of request images and further images."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of thumbnails, originals and downloads."""
        view = self.admin_site.admin_view
        # A transaction would hold its locks while the thumbnail is made.
        thumbnail = without_transaction(view(self.thumbnail_view))
        urls = super().get_urls()
        views = (
            ("thumbnail", thumbnail),
            ("original", view(self.original_view)),
            ("body", view(self.body_view)),
        )
        for model, prefix in ((RequestImage, ""), (FurtherImage, "further/")):
            for kind, its_view in views:
                name = f"request_images_{model._meta.model_name}_{kind}"
                route = f"{prefix}<int:pk>/{kind}/"
                urls.insert(0, path(route, its_view, {"model": model}, name=name))
        return urls

    def thumbnail_view(
        self, request: HttpRequest, pk: int, model: type[ReceivedImage]
    ) -> HttpResponseBase:
        """Serve the thumbnail to users who may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return _or_404(thumbnail_response(_image(model, pk)))

    def original_view(
        self, request: HttpRequest, pk: int, model: type[ReceivedImage]
    ) -> HttpResponseBase:
        """Serve the bytes as received to users who may see originals, and log it."""
        return self._bytes(request, model, pk, OriginalAccess.Action.VIEWED)

    def body_view(
        self, request: HttpRequest, pk: int, model: type[ReceivedImage]
    ) -> HttpResponseBase:
        """Serve the bytes as received as a download, and log it."""
        return self._bytes(request, model, pk, OriginalAccess.Action.DOWNLOADED)

    def _bytes(
        self,
        request: HttpRequest,
        model: type[ReceivedImage],
        pk: int,
        action: OriginalAccess.Action,
    ) -> HttpResponseBase:
        allowed = self.has_view_permission(request) and request.user.has_perm(ORIGINALS)
        if not allowed:
            raise PermissionDenied
        image = _image(model, pk)
        as_file = action == OriginalAccess.Action.DOWNLOADED
        response = _or_404(original_response(image, as_file=as_file))
        if response.status_code != 200:
            return response
        try:
            record_access(image, request.user, action)
        except DatabaseError as error:
            report("access", error)
            text = gettext("The access log cannot be written, so nothing is shown.")
            return text_response(text, 503)
        return response


def _image(model: type[ReceivedImage], pk: int) -> ReceivedImage:
    to_log = "log" if model is RequestImage else "request_image__log"
    rows = model._default_manager.select_related(to_log).defer(f"{to_log}__metadata")
    image: ReceivedImage | None = rows.filter(pk=pk).first()
    if image is None:
        raise Http404
    return image


def _or_404(response: HttpResponseBase | None) -> HttpResponseBase:
    if response is None:
        raise Http404(gettext("This image was not stored, or was deleted."))
    return response
