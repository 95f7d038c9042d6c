"""The registry of the admin has pages that are loaded when they are opened."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.urls import URLPattern

from request_images import admin as pages
from request_images import models

MODELS = (
    models.Dashboard,
    models.Gallery,
    models.OriginalAccess,
    models.RequestImage,
    models.RequestLog,
)


def facts(pattern: URLPattern) -> tuple[str, str | None, object]:
    """Return what must be known of a URL before its page is loaded."""
    aliases = getattr(pattern.callback, "_non_atomic_requests", None)
    return str(pattern.pattern), pattern.name, aliases


@pytest.mark.parametrize("model", MODELS)
def test_urls_are_known_before_the_page_is_loaded(model: type[Model]) -> None:
    """Their order differs, which matters to none of them."""
    registered: Any = admin.site._registry[model]
    known = [facts(each) for each in registered.urls]
    assert sorted(known, key=str) == sorted(map(facts, registered.get_urls()), key=str)


@pytest.mark.parametrize("model", MODELS)
def test_registered_page_is_the_one_to_register_elsewhere(model: type[Model]) -> None:
    """Code of others asks for the class, or for an attribute."""
    registered: Any = admin.site._registry[model]
    assert registered.__class__ in {getattr(pages, name) for name in pages.__all__}
    assert isinstance(registered, admin.ModelAdmin)
    assert registered.model is model
    assert registered.admin_site == admin.site


def test_module_has_only_its_own_classes() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(ImportError, match="RequestLogsAdmin"):
        from request_images.admin import RequestLogsAdmin  # noqa: F401
