"""The translations: complete, compiled, and seen where people look."""

from __future__ import annotations

import ast
import gettext as stdlib_gettext
import re
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext, ngettext
from django.utils.translation.template import templatize

import request_images
from request_images.models import RequestImage
from request_images.outcome import CaptureStatus
from tests.factories import make_image, make_superuser

ROOT = Path(request_images.__file__).parent
PO_FILES = sorted(ROOT.glob("locale/*/LC_MESSAGES/django.po"))
# How many of its first arguments are messages.
FUNCTIONS = {"_": 1, "gettext": 1, "gettext_lazy": 1, "ngettext": 2}
TEXT = r"""u'(?:\\.|[^'\\])*'|u"(?:\\.|[^"\\])*\""""
CALL = re.compile(rf"\bn?gettext\(({TEXT})(?:, ({TEXT}))?")
PLACEHOLDER = re.compile(r"%\(\w+\)\w|%\w")

each_language = pytest.mark.parametrize(
    "path", PO_FILES, ids=lambda path: path.parts[-3]
)


def parse(path: Path) -> list[dict[str, str]]:
    """Return the entries of a .po file, each by its keywords; the header is first."""
    entries = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        entry: dict[str, str] = {}
        keyword = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if not line.startswith('"'):
                keyword, line = line.split(" ", 1)  # noqa: PLW2901  # the rest
            entry[keyword] = entry.get(keyword, "") + ast.literal_eval(line)
        entries.append(entry)
    return entries


def messages_of(path: Path) -> list[dict[str, str]]:
    """Return the entries of a .po file without its header."""
    header, *messages = parse(path)
    assert header["msgid"] == ""
    return messages


def translations_in(entry: dict[str, str]) -> list[str]:
    return [text for keyword, text in entry.items() if keyword.startswith("msgstr")]


def ids_in_code(source: str) -> set[tuple[str, ...]]:
    """Return the message ids of some code, a plural's with both forms."""
    return {
        tuple(ast.literal_eval(node) for node in call.args[: FUNCTIONS[call.func.id]])
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in FUNCTIONS
    }


def ids_in_template(source: str) -> set[tuple[str, ...]]:
    """Return the message ids of a template, as ``makemessages`` reads it."""
    calls = CALL.findall(templatize(source))
    return {tuple(map(ast.literal_eval, filter(None, texts))) for texts in calls}


def ids_in_package() -> set[tuple[str, ...]]:
    code = [
        ids_in_code(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")
    ]
    templates = [
        ids_in_template(path.read_text(encoding="utf-8"))
        for path in ROOT.rglob("*.html")
    ]
    return set().union(*code, *templates)


class TestFiles:
    def test_are_there(self):
        assert [path.parts[-3] for path in PO_FILES] == ["de"]

    @each_language
    def test_have_every_message_of_the_package_and_no_other(self, path):
        in_file = [
            tuple(entry[key] for key in ("msgid", "msgid_plural") if key in entry)
            for entry in messages_of(path)
        ]
        assert sorted(in_file) == sorted(ids_in_package())

    @each_language
    def test_translate_every_message(self, path):
        untranslated = [
            entry["msgid"]
            for entry in messages_of(path)
            if not all(text.strip() for text in translations_in(entry))
            or len(translations_in(entry)) != (2 if "msgid_plural" in entry else 1)
        ]
        assert untranslated == []

    @each_language
    def test_leave_nothing_unsure(self, path):
        flags = re.findall(r"^#, .*", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert [flag for flag in flags if "fuzzy" in flag] == []

    @each_language
    def test_keep_the_placeholders(self, path):
        for entry in messages_of(path):
            forms = [entry["msgid"], entry.get("msgid_plural", entry["msgid"])]
            for original, text in zip(forms, translations_in(entry), strict=False):
                assert sorted(PLACEHOLDER.findall(text)) == sorted(
                    PLACEHOLDER.findall(original)
                )

    @each_language
    def test_are_compiled(self, path):
        """What is in the .mo is what is in the .po, its header included."""
        expected: dict[object, str] = {}
        for entry in parse(path):
            if "msgid_plural" in entry:
                forms = enumerate(translations_in(entry))
                expected |= {(entry["msgid"], form): text for form, text in forms}
            else:
                expected[entry["msgid"]] = entry["msgstr"]
        with path.with_suffix(".mo").open("rb") as file:
            compiled = stdlib_gettext.GNUTranslations(file)
        assert compiled._catalog == expected


class TestFinder:
    """What the tests above know of the package's messages."""

    def test_finds_messages_in_code(self):
        source = '_("a"), gettext("b" "c"), gettext_lazy("d"), ngettext("e", "f", n)'
        assert ids_in_code(source) == {("a",), ("bc",), ("d",), ("e", "f")}

    def test_refuses_what_gettext_could_not_find(self):
        with pytest.raises(ValueError, match="malformed"):
            ids_in_code('_(f"{name} is gone")')

    def test_no_message_is_within_an_f_string(self):
        """Xgettext does not look into them."""
        for path in ROOT.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    assert ids_in_code(ast.unparse(node)) == set(), path

    def test_finds_messages_in_templates(self):
        source = """{% translate 'a' %}{% translate "b's" as b %}{% trans 'c' %}
            {% blocktranslate with x=y %}d {{ x }}{% endblocktranslate %}
            {% blocktranslate trimmed count n=y %}
              one
            {% plural %}
              {{ n }} "many"
            {% endblocktranslate %}"""
        assert ids_in_template(source) == {
            *[("a",), ("b's",), ("c",), ("d %(x)s",), ("one", '%(n)s "many"')]
        }

    def test_knows_every_way_that_the_package_uses(self):
        """It would miss the messages of other functions."""
        imported = {
            (node.module, alias.asname or alias.name)
            for path in ROOT.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        functions = {
            name for module, name in imported if module == "django.utils.translation"
        }
        assert functions <= set(FUNCTIONS)
        assert ("django.utils", "translation") not in imported


class TestGerman:
    @pytest.fixture(autouse=True)
    def _german(self):
        with translation.override("de", deactivate=True):
            yield

    def test_names_the_models_and_their_fields(self):
        meta = RequestImage._meta
        assert meta.verbose_name == "Anfragebild"
        assert meta.app_config.verbose_name == "Anfragebilder"
        assert meta.get_field("width").verbose_name == "Breite (px)"

    def test_names_each_capture_status(self):
        assert CaptureStatus.TRUNCATED.label == "Abgeschnitten"
        assert CaptureStatus.TOO_LARGE.label == "Zu groß"

    @pytest.mark.parametrize(
        ("seen", "text"),
        [
            (1, "einmal gesehen, davon 0-mal fehlgeschlagen"),
            (3, "3-mal gesehen, davon 0-mal fehlgeschlagen"),
        ],
    )
    def test_has_a_singular_and_a_plural(self, seen, text):
        translated = ngettext(
            "seen once, failed %(failed)d",
            "seen %(seen)d times, failed %(failed)d",
            seen,
        )
        assert translated % {"seen": seen, "failed": 0} == text

    @pytest.mark.parametrize(
        ("text", "german"), [("Log out", "Abmelden"), ("user", "Benutzer")]
    )
    def test_leaves_django_its_words(self, text, german):
        """All catalogs are one: an app's word is everybody's word."""
        assert gettext(text) == german


@pytest.mark.django_db
class TestAdmin:
    @pytest.fixture(autouse=True)
    def _languages(self, settings):
        """Let each request choose; the middleware leaves its language behind."""
        where = settings.MIDDLEWARE.index(
            "django.contrib.sessions.middleware.SessionMiddleware"
        )
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE[: where + 1],
            "django.middleware.locale.LocaleMiddleware",
            *settings.MIDDLEWARE[where + 1 :],
        ]
        with translation.override("en", deactivate=True):
            yield

    @pytest.fixture
    def page(self, client):
        """Return a page of the admin in a language."""
        client.force_login(make_superuser())

        def get(name: str, *args: object, language: str) -> str:
            url = reverse(f"admin:request_images_{name}", args=args)
            response = client.get(url, headers={"accept-language": language})
            assert response.status_code == 200
            return response.content.decode()

        return get

    def test_lists_in_german(self, page):
        make_image()
        text = page("requestimage_changelist", language="de")
        for german in ("Abmessungen", "Endpunkt", "Erfassungsstatus", "Gespeichert"):
            assert german in text
        for german in ("Nach Ergebnis", "fehlgeschlagen", "12,5 ms", "Anfrage-ID oder"):
            assert german in text
        assert "endpoint" not in re.sub(r"<[^>]*>", "", text).lower()

    def test_shows_an_image_in_german(self, page):
        image = make_image()
        text = page("requestimage_change", image.pk, language="de")
        for german in (
            "Original öffnen",
            "einmal gesehen",
            "Andere Anfragen mit diesem Bild",
        ):
            assert german in text

    def test_stays_english_for_others(self, page):
        make_image()
        text = page("requestimage_changelist", language="en")
        assert "Dimensions" in text
        assert "Abmessungen" not in text
