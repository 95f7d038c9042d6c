"""Sphinx configuration: ``sphinx-build -W -n docs docs/_build/html``."""

import sys
from collections.abc import Callable
from pathlib import Path

import django
from django.conf import settings
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))

# The reference is generated from the code, which needs a configured Django.
if not settings.configured:
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "request_images",
        ],
        USE_TZ=True,
    )
    django.setup()

import generated  # Django comes first

from request_images import __version__

project = "django-request-images"
author = "django-request-images contributors"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "django-request-images"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Single backticks in docstrings are names.
default_role = "code"
autodoc_member_order = "bysource"
nitpicky = True
# The build downloads nothing, so names of other projects are not links.
nitpick_ignore_regex = [
    ("py:.*", r"(django|collections|datetime|typing|P|R|Callable|Any)\b.*"),
    ("py:.*", r"(request_images\.sources\.|sources\.)?SourceSpec"),
    ("py:.*", r"request_images\.decorators\.[PR]|optional|Model"),
    ("py:.*", r"request_images\.aggregation\.gather\.\w+"),
    # Internals that signatures mention.
    ("py:.*", r"request_images\.models\.querysets\..*"),
    ("py:.*", r"request_images\.aggregation\.(facets\.P\w+|tallies\..*)"),
    (
        "py:exc",
        r"(request_images\.exceptions\.)?SourceError|TypeError|ImproperlyConfigured",
    ),
]


def _directive(generate: Callable[[], str]) -> type[SphinxDirective]:
    class Generated(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(generate())

    return Generated


def setup(app: Sphinx) -> None:
    """Add a directive for each generator: ``settings``, ``formats`` and so on."""
    for generate in generated.GENERATORS:
        app.add_directive(generate.__name__.replace("_", "-"), _directive(generate))
