"""Actions of the lists: pin requests and unpin them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from request_images.models import RequestLog
from request_images.models.querysets import RequestLogQuerySet

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:  # a mixin of `ModelAdmin`
    AnyAdmin = object

_BATCH_SIZE = 500
PERMISSION = "request_images.change_requestlog"


class PinActions(AnyAdmin):
    """Pins and unpins the requests of the chosen rows, and logs it in their history."""

    actions = ("pin", "unpin")
    log_field = "pk"
    """Field with the primary key of the log."""

    def has_pin_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may change request logs: this permits only pins."""
        return bool(request.user.has_perm(PERMISSION))

    @admin.action(permissions=["pin"], description=_("Keep from cleanup (pin)"))
    def pin(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Pin the requests of some rows."""
        pinned = self._logs(queryset).pin()
        text = ngettext(
            "%(count)d request was pinned.",
            "%(count)d requests were pinned.",
            len(pinned),
        )
        self._log_and_confirm(request, pinned, gettext("Pinned."), text)

    @admin.action(permissions=["pin"], description=_("Leave to cleanup (unpin)"))
    def unpin(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Unpin the requests of some rows."""
        unpinned = self._logs(queryset).unpin()
        text = ngettext(
            "%(count)d request was unpinned.",
            "%(count)d requests were unpinned.",
            len(unpinned),
        )
        self._log_and_confirm(request, unpinned, gettext("Unpinned."), text)

    def _logs(self, queryset: QuerySet[Any]) -> RequestLogQuerySet:
        pks = queryset.order_by().values(self.log_field)
        return RequestLog.objects.filter(pk__in=pks)

    def _log_and_confirm(
        self, request: HttpRequest, logs: list[RequestLog], change: str, text: str
    ) -> None:
        # Not `log_change`, which needs a statement for each of possibly thousands.
        user: Any = request.user
        rest = iter(logs)
        while some := list(islice(rest, _BATCH_SIZE)):
            LogEntry.objects.log_actions(user.pk, some, CHANGE, change)
        self.message_user(request, text % {"count": len(logs)}, messages.SUCCESS)
