"""The documentation agrees with the code: names, examples, links, JSON, folders."""

import ast
import importlib
import inspect
import io
import json
import re
import runpy
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import tomli
from django.contrib.auth.models import Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import BaseCommand, call_command, load_command_class
from django.db.models import Model
from django.dispatch import Signal
from django.test import RequestFactory
from django.urls import reverse
from django.utils.datastructures import MultiValueDictKeyError

from request_images import health, models, signals
from request_images.aggregation.properties import IMAGE_PROPERTIES
from request_images.conf import Conf
from request_images.dashboard.panels import PANELS
from request_images.images.formats import sniff
from request_images.models import (
    FurtherImage,
    ImageContent,
    OriginalAccess,
    RequestImage,
    RequestLog,
)
from request_images.outcome import CaptureStatus
from tests import test_architecture
from tests.factories import make_image
from tests.image_files import draw

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = test_architecture.ROOT
GENERATED = runpy.run_path(str(DOCS / "generated.py"))
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
    if "_build" not in path.parts and path.name != "README.md"
}
EVERYTHING = "\n".join(PAGES.values())
COMMANDS = {path.stem for path in PACKAGE.glob("management/commands/[!_]*.py")}


def blocks(page, language):
    """Return the code blocks of a page in one language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, PAGES[page], re.DOTALL | re.MULTILINE)


def block_with(page, language, text):
    """Return the one code block of a page that holds a text."""
    [block] = [block for block in blocks(page, language) if text in block]
    return block


def run(code, **names):
    """Run a code block among some names, and return all names it leaves."""
    exec(compile(code, "docs", "exec"), names)
    return names


PYTHON = [(page, code) for page in PAGES for code in blocks(page, "python")]


class TestGenerated:
    """Generated parts are complete, and each is on a page."""

    @pytest.mark.parametrize(
        "setting", list(Conf.declarations()), ids=lambda setting: setting.name
    )
    def test_every_setting_is_described(self, setting):
        text = GENERATED["settings"]()
        assert f"{{confval}} {setting.full_name}\n" in text
        assert f"`{setting.default!r}`" in text
        assert setting.meaning in text
        assert f"Must be {setting.expects}. Check: `{setting.check_id}`" in text

    def test_every_check_is_listed(self):
        declared = re.findall(
            r'^ +"(E\d{3})",$', (PACKAGE / "conf.py").read_text(), re.MULTILINE
        )
        ids = [f"request_images.{name}" for name in declared]
        source = (PACKAGE / "checks.py").read_text()
        ids += sorted(re.findall(r"request_images\.[EIW]\d{3}", source))
        assert re.findall(r"^\| `(.*?)`", GENERATED["checks"](), re.MULTILINE) == ids

    def test_every_generator_has_its_place(self):
        for generate in GENERATED["GENERATORS"]:
            directive = generate.__name__.replace("_", "-")
            assert EVERYTHING.count(f"```{{{directive}}}\n") == 1

    def test_formats_are_listed(self):
        assert "| `PNG` | `image/png` | shown |" in GENERATED["formats"]()
        assert "| `TIFF` | `image/tiff` | downloaded |" in GENERATED["formats"]()


class TestNames:
    """Every name of ours is documented, and every documented name exists."""

    def test_documented_settings_exist(self):
        known = {setting.full_name for setting in Conf.declarations()}
        assert set(re.findall(r"REQUEST_IMAGES_[A-Z_]+\b", EVERYTHING)) <= known

    def test_defaults_in_texts_are_right(self):
        defaults = {s.full_name: str(s.default) for s in Conf.declarations()}
        documented = re.findall(r"\{confval\}`(\w+)` \((\w+)\)", EVERYTHING)
        assert documented
        assert [
            (name, value) for name, value in documented if defaults[name] != value
        ] == []

    def test_every_signal_is_documented(self):
        names = [n for n, value in vars(signals).items() if isinstance(value, Signal)]
        assert (
            "automodule:: request_images.signals" in PAGES["docs/reference/signals.md"]
        )
        assert re.findall(r"^`(\w+)`$", signals.__doc__, re.MULTILINE) == names

    def test_every_command_is_documented(self):
        page = PAGES["docs/reference/commands.md"]
        assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == COMMANDS

    @pytest.mark.parametrize(
        ("command", "generator"),
        [
            ("analyze_image_contents", "analyze_options"),
            ("cleanup_old_images", "cleanup_options"),
            ("compress_image_contents", "compress_options"),
            ("make_thumbnails", "thumbnails_options"),
            ("request_images_health", "health_options"),
            ("write_spooled_requests", "spooled_options"),
            ("move_image_contents", "move_options"),
            ("verify_image_contents", "verify_options"),
            ("update_image_statistics", "statistics_options"),
        ],
    )
    def test_every_option_of_a_command_is_documented(self, command, generator):
        declared = load_command_class("request_images", command)
        of_django = {a.dest for a in BaseCommand().create_parser("", "")._actions}
        options = [
            action.option_strings[0]
            for action in declared.create_parser("manage.py", command)._actions
            if action.dest not in of_django
        ]
        assert options
        documented = re.findall(
            r"^\| `(--[\w-]+)`", GENERATED[generator](), re.MULTILINE
        )
        assert documented == options

    def test_every_capture_status_is_documented(self):
        page = PAGES["docs/reference/models.md"].split("(capture-status)=")[1]
        documented = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
        assert set(documented) == set(CaptureStatus.values)

    @pytest.mark.parametrize(
        "model",
        [
            RequestLog,
            RequestImage,
            FurtherImage,
            ImageContent,
            OriginalAccess,
            models.StatisticsRollup,
            models.StatisticsState,
            models.StaleHour,
            models.GoneRequests,
        ],
    )
    def test_every_field_is_documented(self, model):
        page = PAGES["docs/reference/models.md"]
        [section] = re.findall(
            rf"^## {model.__name__}\n(.*?)^(?:## |\()", page, re.DOTALL | re.MULTILINE
        )
        first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        documented = re.findall(r"`(\w+)`", " ".join(first_cells))
        assert documented == [f.name for f in model._meta.fields if f.name != "id"]

    def test_every_model_is_documented(self):
        ours = [
            name
            for name, value in vars(models).items()
            if isinstance(value, type) and issubclass(value, Model)
        ]
        page = PAGES["docs/reference/models.md"]
        headings = re.findall(
            r"^## ((?:Request|Further|Image|Original|Pending|Lease|Loss|Statistics|"
            r"Stale|Gone|Dashboard|Gallery)\w*)$",
            page,
            re.MULTILINE,
        )
        assert set(headings) == set(ours) - {"Model", "ReceivedImage", "Counted"}

    @pytest.mark.django_db
    def test_documented_permissions_exist(self):
        known = set(
            Permission.objects.filter(
                content_type__app_label="request_images"
            ).values_list("codename", flat=True)
        )
        documented = set(re.findall(r"`(?:request_images\.)?(view_\w+)`", EVERYTHING))
        assert "view_image_content" in documented
        assert documented <= known


class TestCode:
    @pytest.mark.parametrize(("page", "code"), PYTHON)
    def test_code_compiles(self, page, code):
        compile(code, page, "exec")

    def test_imported_names_exist(self):
        imported = {
            (node.module, alias.name)
            for _, code in PYTHON
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.ImportFrom) and not node.level
            for alias in node.names
        }
        assert ("request_images.decorators", "capture_images") in imported
        missing = [
            (module, name)
            for module, name in sorted(imported)
            if not hasattr(importlib.import_module(module), name)
        ]
        assert missing == []

    def test_reference_lists_every_import_on_the_pages(self):
        """Names in `reference/api.md` are public; every page keeps to these."""
        readme = (ROOT / "README.md").read_text()
        listed = set(
            re.findall(r"`(request_images[\w.]+)`", PAGES["docs/reference/api.md"])
        )
        codes = [code for _, code in PYTHON]
        codes += re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
        documented = {
            f"{node.module}.{alias.name}"
            for code in codes
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.ImportFrom) and not node.level
            for alias in node.names
            if node.module.split(".")[0] == "request_images"
        }
        assert documented
        assert documented - listed == set()

    def test_reference_lists_only_what_exists(self):
        listed = re.findall(
            r"`(request_images\.[\w.]+)`", PAGES["docs/reference/api.md"]
        )

        def exists(path):
            module, _, name = path.rpartition(".")
            try:
                importlib.import_module(path)
            except ImportError:
                return hasattr(importlib.import_module(module), name)
            return True

        assert [path for path in listed if not exists(path)] == []

    @pytest.mark.django_db
    def test_view_of_the_tutorial_works(self):
        measure = run(block_with("docs/tutorial.md", "python", "def measure"))[
            "measure"
        ]

        def answer(data):
            photo = SimpleUploadedFile("photo.png", data)
            return json.loads(
                measure(RequestFactory().post("/", {"photo": photo})).content
            )

        assert answer(draw(size=(640, 480))) == {"width": 640, "height": 480}
        assert answer(b"no picture") == {"error": "not_an_image"}
        failed, succeeded = RequestLog.objects.all()
        assert succeeded.metadata == {"megapixels": 0.3072}
        assert (failed.error_type, failed.status_code) == ("not_an_image", 400)
        assert failed.get_capture_status_display() in PAGES["docs/tutorial.md"]

    def test_image_of_the_testing_page_is_a_gif(self):
        code = block_with("docs/howto/testing.md", "python", "GIF = ").split(
            "@override"
        )[0]
        assert sniff(run(code)["GIF"]).name == "GIF"

    @pytest.mark.django_db
    def test_example_erases_one_person(self, client, django_user_model):
        for name, seeds in {"ann": (1, 2), "ben": (2, 3)}.items():
            client.force_login(django_user_model.objects.create_user(name))
            for seed in seeds:
                photo = SimpleUploadedFile("photo.png", draw(seed=seed))
                client.post(reverse("upload"), {"photo": photo})
            # As if the view had asked who it is.
            RequestLog.objects.filter(username="").update(username=name)
        run(block_with("docs/howto/privacy.md", "python", "import erase"))
        assert set(RequestLog.objects.values_list("username", flat=True)) == {"ben"}
        kept = [image.image_data for image in RequestImage.objects.order_by("pk")]
        assert kept == [draw(seed=2), draw(seed=3)]
        assert ImageContent.objects.count() == 2


class TestTutorial:
    """The tutorial ends on pages that show what it says."""

    @pytest.fixture
    def sent(self, db):
        """Send what the tutorial sends: a picture, no picture, a wrong field."""
        code = block_with("docs/tutorial.md", "python", "def measure")
        measure = run(code)["measure"]
        for field, data in (
            ("photo", draw(size=(640, 480))),
            ("photo", b"no picture"),
            ("picture", draw(size=(640, 480))),
        ):
            request = RequestFactory().post(
                "/measure", {field: SimpleUploadedFile("photo.png", data)}
            )
            with suppress(MultiValueDictKeyError):
                measure(request)

    @pytest.mark.django_db
    @pytest.mark.usefixtures("sent")
    def test_table_of_request_logs(self):
        rows = re.findall(
            r"^\| (\d+) \| (.*?) \| (.*?) \|", PAGES["docs/tutorial.md"], re.MULTILINE
        )
        logs = RequestLog.objects.order_by("-pk")
        # The row that an exception ends has no status without Django's handler.
        assert [(status or "500", error.strip("`")) for status, error, _ in rows] == [
            (str(log.status_code or 500), log.error_type or "none") for log in logs
        ]
        for (_, _, documented), log in zip(rows, logs, strict=True):
            assert documented in {log.capture_status, log.get_capture_status_display()}

    @pytest.mark.usefixtures("sent")
    def test_dashboard_and_gallery(self, admin_client):
        page = admin_client.get(
            reverse("admin:request_images_requestlog_dashboard")
        ).content.decode()
        assert "66.7" in page
        gallery = admin_client.get(
            reverse("admin:request_images_requestimage_gallery"), {"group": "outcome"}
        ).content.decode()
        assert "MultiValueDictKeyError" in gallery
        assert "Failed beside succeeded" in gallery

    def test_pictures_are_small(self):
        for picture in (DOCS / "images").iterdir():
            assert picture.stat().st_size < 200_000, picture


class TestIndex:
    PAGE = "docs/index.md"

    def test_picture_comes_first(self):
        [first, *_] = re.findall(r"^(?:!\[|#{2,} |- )", PAGES[self.PAGE], re.MULTILINE)
        assert first == "!["

    def test_three_questions(self):
        assert len(re.findall(r"^- \*\*.*\?\*\*", PAGES[self.PAGE], re.MULTILINE)) == 3

    def test_traps_are_for_contributors(self):
        [trees] = re.findall(r":caption: Contribute\n(.*?)^```$", *self.flags())
        assert trees.split() == ["architecture", "traps", "changelog"]

    def flags(self):
        return PAGES[self.PAGE], re.DOTALL | re.MULTILINE


class TestGuides:
    """Every how-to page is in one group, with one line that says what it is for."""

    GROUPS = ("capture", "look", "keep", "run")

    def test_each_page_has_one_line_in_one_group(self):
        listed = []
        for group in self.GROUPS:
            page = PAGES[f"docs/howto/{group}.md"]
            lines = re.findall(r"^- \[(.*?)\]\((.*?)\.md\): \S", page, re.MULTILINE)
            [tree] = blocks(f"docs/howto/{group}.md", r"\{toctree\}")
            assert [name for _, name in lines] == tree.split()[1:]
            listed += [name for _, name in lines]
            for title, name in lines:
                heading = PAGES[f"docs/howto/{name}.md"].splitlines()[0]
                assert heading.startswith(f"# {title}"), name
        pages = {path.stem for path in (DOCS / "howto").glob("*.md")}
        assert sorted(listed) == sorted(pages - {"index", *self.GROUPS})


class TestDashboard:
    def test_panels_have_the_names_of_the_page(self):
        table = PAGES["docs/howto/dashboard.md"].split("## Panels")[1].split("\n## ")[0]
        names = re.findall(r"^\| \[?(\w[^|\]]*?)(?:\]\(.*?\))? \|", table, re.MULTILINE)
        assert names[1:] == [str(panel.title) for panel in PANELS.values()]


class TestTroubleshooting:
    PAGE = "docs/howto/troubleshooting.md"

    def test_every_capture_status_has_its_cause_and_cure(self):
        table = PAGES[self.PAGE].split("## There is a row, but no image")[1]
        table = table.split("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
        documented = [
            name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])
        ]
        assert sorted(documented) == sorted({"capture_status", *CaptureStatus.values})

    @pytest.mark.django_db
    def test_words_of_the_health_command(self, settings):
        settings.REQUEST_IMAGES_ENABLED = False
        out = io.StringIO()
        call_command("request_images_health", stdout=out)
        said = out.getvalue().splitlines()[0]
        assert f"`request_images_health` says `{said}`" in PAGES[self.PAGE]

    def test_words_of_the_logger(self, caplog):
        health.report("store", OSError("no such table"))
        health.reset()
        assert caplog.messages[0].startswith("Capture fault in ")
        assert "`Capture fault in … no such table`" in PAGES[self.PAGE]

    def test_likeliest_mistake_comes_first(self):
        table = PAGES[self.PAGE].split("## There is no row")[1]
        [first, *_] = re.findall(r"^\| ([A-Z].*?) \|", table, re.MULTILINE)[1:]
        assert first.startswith("Recording is off")


class TestDeployment:
    PAGE = "docs/howto/deployment.md"

    def test_every_command_is_scheduled(self):
        # Moving is done once, by hand.
        scheduled = COMMANDS - {"move_image_contents"}
        [cron] = [block for block in blocks(self.PAGE, "text") if "MAILTO" in block]
        assert set(re.findall(r"manage\.py (\w+)", cron)) == scheduled
        table = PAGES[self.PAGE].split("## Scheduled commands")[1].split("###")[0]
        documented = re.findall(r"^\| \[`(\w+)`\]", table, re.MULTILINE)
        assert set(documented) == scheduled
        timers = PAGES[self.PAGE].split("### With systemd timers")[1].split("\n## ")[0]
        # The service's own time is that of the nightly commands.
        nightly = {"cleanup_old_images", "compress_image_contents"}
        assert {name for name in scheduled - nightly if name not in timers} == set()

    @pytest.mark.django_db
    def test_groups_have_their_permissions(self):
        code = block_with(self.PAGE, "python", "Image reviewers")
        for _ in range(2):
            run(code)
        for name, expected in run(code).items():
            if name in {"REVIEWERS", "AUDITORS"}:
                group = Group.objects.get(name=f"Image {name.lower()}")
                kept = group.permissions.values_list("codename", flat=True)
                assert sorted(kept) == sorted(expected)


class TestUpgrading:
    def test_supported_versions_are_those_of_the_package(self):
        project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
        table = GENERATED["supported_versions"]()
        for classifier in project["classifiers"]:
            *_, kind, version = classifier.split(" :: ")
            if kind in {"Python", "Django"} and "." in version:
                assert version in table.split(f"| {kind} |")[1].splitlines()[0]
        assert "Pillow 12" not in table
        [pillow] = [d for d in project["dependencies"] if d.startswith("Pillow")]
        assert f"| Pillow | {pillow.removeprefix('Pillow>=')} and later |" in table


class TestGlossary:
    @pytest.mark.parametrize("model", [RequestLog, RequestImage, ImageContent])
    def test_every_model_is_documented(self, model):
        assert f"`{model.__name__}`" in PAGES["docs/glossary.md"]

    def test_words(self):
        words = re.findall(r"^(\w[\w ]*)\n: ", PAGES["docs/glossary.md"], re.MULTILINE)
        assert len(words) == len(set(words)) >= 12


class TestLinks:
    def test_every_page_is_in_the_contents(self):
        listed = {"docs/index.md"}
        for page, text in PAGES.items():
            for tree in re.findall(
                r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE
            ):
                names = [n for n in tree.splitlines() if n and not n.startswith(":")]
                listed |= {str(Path(page).parent / f"{name}.md") for name in names}
        assert listed == {page for page in PAGES if page.startswith("docs/")}

    @pytest.mark.parametrize("page", PAGES)
    def test_linked_files_exist(self, page):
        targets = set(re.findall(r"\]\((?!https?:|#)([^)#\s]+)", PAGES[page]))
        folder = (ROOT / page).parent
        assert {name for name in targets if not (folder / name).exists()} == set()

    @pytest.mark.parametrize("page", PAGES)
    def test_files_named_in_the_text_exist(self, page):
        names = set(re.findall(r"`((?:docs|tests)/[\w/.]+)`", PAGES[page]))
        assert {name for name in names if not (ROOT / name).exists()} == set()


class TestStats:
    PAGE = "docs/reference/stats.md"
    URL = "/api/usage/image-performance-stats"

    @pytest.fixture
    def live(self, admin_client, client):
        """Return what the endpoint answers after a picture, twice, and a failure."""
        for data in (draw(), draw(), b"no picture"):
            photo = SimpleUploadedFile("photo.png", data)
            client.post(reverse("upload"), {"photo": photo})
        RequestLog.objects.filter(image__mime_type="").update(error_type="not_an_image")
        return admin_client.get(self.URL).json()

    def shape(self, value):
        """Return a JSON value's keys and kinds, without the numbers."""
        if isinstance(value, dict):
            return {key: self.shape(item) for key, item in value.items()}
        if isinstance(value, list):
            shapes = [self.shape(item) for item in value]
            assert all(shape == shapes[0] for shape in shapes)
            return shapes[:1]
        return "leaf"

    def test_example_has_the_shape_of_the_live_answer(self, live):
        example = GENERATED["stats_example"]().strip("`").removeprefix("json")
        assert self.shape(json.loads(example)) == self.shape(live)

    def test_every_field_of_the_answer_is_documented(self, live):
        page = f"{PAGES[self.PAGE]}\n{GENERATED['property_lists']()}"
        cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        names = set(re.findall(r"[\w.]+", " ".join(cells)))
        documented = {part for name in names for part in name.split(".")}
        lists = [value[0] for value in live.values() if isinstance(value, list)]
        assert len(lists) == len(IMAGE_PROPERTIES) + 5
        group_keys = {key for group in lists for key in group}
        table = PAGES[self.PAGE].split("## The answer")[1].split("## An example")[0]
        table += GENERATED["property_lists"]()
        assert set(live) | set(live["overall"]) <= documented | {
            "storage_bytes",
            "duration_ms",
        }
        assert {key for key in group_keys if f"`{key}" not in table} == set()
        assert {
            k for k in live["overall"]["duration_ms"] if k not in documented
        } == set()
        health = live["health"]
        names = {f"health.{k}" for k in health} - {"health.process"}
        names |= {f"health.process.{k}" for k in health["process"]}
        assert {name for name in names if f"`{name}`" not in table} == set()

    @pytest.mark.parametrize(
        ("status", "query", "method"),
        [(400, "?days=0", "get"), (405, "", "delete"), (200, "", "head")],
    )
    def test_errors_for_an_admin_are_documented(
        self, admin_client, status, query, method
    ):
        response = getattr(admin_client, method)(self.URL + query)
        assert response.status_code == status
        self.check_documented(response)

    @pytest.mark.django_db
    def test_errors_for_other_users_are_documented(self, client, django_user_model):
        response = client.get(self.URL)
        assert response.status_code == 401
        self.check_documented(response)
        client.force_login(django_user_model.objects.create_user("ann"))
        response = client.get(self.URL)
        assert response.status_code == 403
        self.check_documented(response)

    def check_documented(self, response):
        """Compare an answer without statistics with the table of errors."""
        bodies = dict(
            re.findall(r"^\| (\d+) \|.*\| (.*) \|$", PAGES[self.PAGE], re.MULTILINE)
        )
        if not response.content:
            assert "empty" in bodies.get(str(response.status_code), "empty")
            return
        documented = json.loads(bodies[str(response.status_code)].strip("`"))
        assert set(documented) == set(response.json())


class TestCommandsInTheGuides:
    """The guides print what the commands print, apart from the numbers."""

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        ("page", "command", "lines"),
        [
            ("statistics", "update_image_statistics", 1),
            ("storages", "verify_image_contents", 1),
            ("monitoring", "request_images_health", 4),
        ],
    )
    def test_output(self, page, command, lines, settings):
        settings.REQUEST_IMAGES_ENABLED = True
        settings.REQUEST_IMAGES_WRITE_MODE = "auto"
        make_image()
        out = io.StringIO()
        call_command(command, stdout=out)
        text = re.sub(r"\d+", "N", PAGES[f"docs/howto/{page}.md"])
        # One second or minute, where the page has some.
        text = re.sub(r"N (second|minute|hour)s ago", "N seconds ago", text)
        said = re.sub(r"\d+", "N", out.getvalue())
        said = re.sub(r"N (second|minute|hour)s? ago", "N seconds ago", said)
        assert len(said.splitlines()) >= lines
        assert [line for line in said.splitlines() if line not in text] == []

    @pytest.mark.django_db
    def test_output_of_a_cleanup_with_a_budget(self, settings):
        page = block_with("docs/howto/cleanup.md", "console", "Images may take")
        names = run(block_with("docs/howto/cleanup.md", "python", "MAX_STORED_MB"))
        for name, value in names.items():
            if name.startswith("REQUEST_IMAGES"):
                setattr(settings, name, value)
        make_image(days_old=20)
        make_image(draw(seed=1), days_old=200)
        out = io.StringIO()
        call_command("cleanup_old_images", stdout=out)
        number = re.compile(rf"{SIZE.pattern}|\d+")
        told = {number.sub("N", line) for line in page.splitlines()}
        said = [number.sub("N", line) for line in out.getvalue().splitlines()]
        assert len(said) > 5
        assert [line for line in said if line not in told] == []


SIZE = re.compile(r"[\d.]+ (?:bytes|KB|MB)(?: \(\d+ bytes\))?")
"""A size as commands print it: a size below 1 KB has one number."""


class TestCleanup:
    @pytest.mark.django_db
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_output_is_as_documented(self, dry_run):
        make_image(days_old=40)
        out = io.StringIO()
        call_command("cleanup_old_images", dry_run=dry_run, stdout=out)
        said = "Would delete" if dry_run else "Deleted"
        # The same words, whatever the numbers.
        words = re.sub(r"\d+", "N", SIZE.sub("N bytes", out.getvalue()))
        examples = blocks("docs/reference/commands.md", "console")
        text = re.sub(r"\d+", "N", SIZE.sub("N bytes", examples[0]))
        assert said in words
        assert words in text


class TestArchitecture:
    PAGE = "docs/architecture.md"

    def test_drawn_layers_are_those_of_import_linter(self):
        """The page draws the layers in their order."""
        contracts = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]
        layers = contracts["importlinter"]["contracts"][0]["layers"]
        drawn = block_with(self.PAGE, "text", "apps | testing").splitlines()
        assert [line.strip() for line in drawn] == layers

    def steps(self):
        """Return the functions of the way of one image, as they are named."""
        _, section = PAGES[self.PAGE].split("## The way of one image\n")
        numbered = re.findall(
            r"^(\d+)\. `([\w/.]+)` ", section.split("\n## ")[0], re.MULTILINE
        )
        assert [int(number) for number, _ in numbered] == [*range(1, len(numbered) + 1)]
        return [name for _, name in numbered]

    def function(self, name):
        """Return the function of a name such as ``folder/module.Class.method``."""
        *folders, rest = name.split("/")
        module, *attributes = rest.split(".")
        path = PACKAGE.joinpath(*folders, f"{module}.py")
        assert path.is_file(), name
        found = importlib.import_module(".".join(["request_images", *folders, module]))
        for attribute in attributes:
            found = getattr(found, attribute)
        return found

    def test_way_of_one_image_has_at_most_twelve_steps(self):
        steps = self.steps()
        assert 1 < len(steps) <= 12
        for name in steps:
            assert inspect.isfunction(self.function(name)), name

    @pytest.mark.django_db
    @pytest.mark.urls("tests.views")
    def test_way_of_one_image_is_taken_in_this_order(self, client):
        """A posted image calls the functions in the order of the list."""
        # The one is called at import, the other for a row that is refused.
        others = ("decorators.capture_images", "writer/degrade.smaller_copies")
        names = [name for name in self.steps() if name not in others]
        codes = {self.function(name).__code__: name for name in names}
        calls = []
        photo = SimpleUploadedFile("photo.png", draw(), content_type="image/png")
        sys.setprofile(lambda frame, event, _: calls.append((event, frame.f_code)))
        try:
            client.post("/upload/", {"photo": photo})
        finally:
            sys.setprofile(None)
        called = (codes.get(code) for event, code in calls if event == "call")
        assert list(dict.fromkeys(filter(None, called))) == names

    def test_drawn_tree_has_every_folder_and_every_module_at_the_top(self):
        tree = block_with(self.PAGE, "text", "apps checks conf")
        top, folders = tree.split("\n\n", 1)
        drawn = set(re.findall(r"(?<!\()\b([a-z]+)/ ", folders)) | set(
            re.findall(r"[a-z]+", re.sub(r"<-.*", "", top))
        )
        named = {path.stem for path in PACKAGE.glob("[!_]*.py")}
        named |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
        assert drawn == named | {"static", "templates", "locale"}
