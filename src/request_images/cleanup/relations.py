"""Rows of the host project's own models that refer to logs and images.

Their ``on_delete`` decides what happens to them. Only Django applies it: the database
would refuse to delete rows that they refer to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django.db import models, router
from django.db.models import DO_NOTHING, ForeignObjectRel, ProtectedError, QuerySet
from django.db.models.deletion import Collector, RestrictedError

from request_images.models import FurtherImage, RequestImage, RequestLog

_TO_LOG = {
    RequestLog: "__pk",
    RequestImage: "__log",
    FurtherImage: "__request_image__log",
}


def referred_to(log_pks: Collection[int], using: str) -> set[int]:
    """Return the logs that rows of other apps refer to, directly or by their images."""
    found: set[int] = set()
    for relation, path in _relations(using) if log_pks else ():
        rows = relation.related_model._base_manager.using(using)
        those = rows.filter(**{f"{path}__in": list(log_pks)})
        found.update(those.order_by().values_list(path, flat=True).distinct())
    return found


def protector_of(rows: QuerySet[models.Model]) -> str:
    """Return the model whose ``on_delete`` forbids the deletion of one of the rows.

    Returns:
        Its label, such as ``shop.Order``; an empty string if there is none.
    """
    try:
        Collector(using=rows.db).collect(rows)
    except ProtectedError as error:
        return min(each._meta.label for each in error.protected_objects)
    except RestrictedError as error:
        return min(each._meta.label for each in error.restricted_objects)
    return ""


def _relations(using: str) -> Iterator[tuple[ForeignObjectRel, str]]:
    """Yield the relations of other apps, each with the path to the log."""
    ours = RequestLog._meta.app_label
    for model, path in _TO_LOG.items():
        # Including hidden ones: ``related_name="+"``, and the tables of many-to-many.
        for relation in model._meta.get_fields(include_hidden=True):
            if not isinstance(relation, ForeignObjectRel) or relation.many_to_many:
                continue
            their = relation.related_model
            if (
                their._meta.app_label != ours
                and relation.on_delete is not DO_NOTHING
                and router.allow_migrate_model(using, their)
            ):
                yield relation, f"{relation.field.name}{path}"
