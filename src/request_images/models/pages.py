"""Models for pages of the admin that are no list of rows.

The admin builds its index and its sidebar from registered models, in every theme. A
proxy model puts a page there under a name of its own; it has no table and no
permissions.
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from .requests import RequestImage, RequestLog


class Dashboard(RequestLog):
    """The dashboard in the admin's index."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = _("Dashboard")


class Gallery(RequestImage):
    """The gallery in the admin's index."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = _("Gallery")
