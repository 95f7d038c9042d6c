"""What is promised about the package; the gate also builds and uses the wheel."""

import ast
import configparser
import itertools
import re
from importlib import metadata
from pathlib import Path

import pytest
import tomli
import yaml
from django.core.management import call_command
from packaging.requirements import Requirement
from packaging.version import Version

import request_images

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(request_images.__file__).parent
PYPROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
TOX = (ROOT / "tox.ini").read_text()
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def names_of(pattern: str) -> list[str]:
    """Return the names that a pattern of tox stands for: "a-{b,c}" for a-b and a-c."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def tox_list(section: str, name: str) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(TOX)
    lines = parser[section][name].split("\n")
    return [line.strip() for line in lines if line.strip() and line.strip()[0] != "#"]


ENVIRONMENTS = [
    name for pattern in tox_list("tox", "env_list") for name in names_of(pattern)
]


def jobs_of(workflow: str):
    return yaml.safe_load((GITHUB / "workflows" / workflow).read_text())["jobs"]


def entries_of_matrix() -> list[dict[str, str]]:
    return jobs_of("test.yml")["tests"]["strategy"]["matrix"]["include"]


def test_type_hints_are_announced():
    assert (PACKAGE / "py.typed").is_file()


def test_version_is_the_installed_one():
    installed = metadata.version("django-request-images")
    assert Version(request_images.__version__) == Version(installed)


def test_changelog_begins_with_this_version():
    (heading, *_) = re.findall(
        r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    version = Version(request_images.__version__)
    assert heading in {"Unreleased", version.base_version}


def test_wheel_takes_the_package_and_leaves_nothing_out():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/request_images"]}


@pytest.mark.parametrize("kind", ["migrations", "templates", "static", "locale"])
def test_package_holds_what_is_not_code(kind):
    assert any(path.is_file() for path in (PACKAGE / kind).rglob("*"))


def test_git_ignores_no_file_that_is_shipped():
    # The build leaves out what git ignores, and compiled translations often are.
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {"*.mo", "locale/", "static/", "migrations/"} & set(ignored)


def test_oldest_python_is_tested():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"py{oldest.replace('.', '')}-" in TOX


def test_oldest_django_is_tested():
    (django,) = (
        requirement
        for requirement in map(Requirement, PROJECT["dependencies"])
        if requirement.name == "Django"
    )
    (bound,) = django.specifier
    assert bound.operator == ">="
    assert f"Django~={bound.version}.0" in TOX


def test_every_tested_django_is_in_the_classifiers():
    tested = re.findall(r"dj\d+: Django~=(\d+\.\d+)\.0", TOX)
    assert tested == [
        name.removeprefix("Framework :: Django :: ")
        for name in PROJECT["classifiers"]
        if name.startswith("Framework :: Django :: ")
    ]


def test_pythons_in_the_classifiers_are_those_tested():
    """Python 3.15 is tested, and promised when it has passed for a while."""
    tested = {entry["python"] for entry in entries_of_matrix()}
    classified = {
        name.removeprefix("Programming Language :: Python :: ")
        for name in PROJECT["classifiers"]
        if name.startswith("Programming Language :: Python :: 3.")
    }
    allowed_to_fail = {
        entry["python"] for entry in entries_of_matrix() if entry.get("may-fail")
    }
    assert classified == tested - allowed_to_fail
    assert allowed_to_fail == {"3.15"}


@pytest.mark.parametrize(
    "name", ["Homepage", "Documentation", "Source", "Changelog", "Issues"]
)
def test_project_has_url(name):
    assert PROJECT["urls"][name].startswith("https://")


def test_workflow_runs_every_environment_of_tox():
    jobs = jobs_of("test.yml")
    in_workflow = [
        *jobs["checks"]["strategy"]["matrix"]["environment"],
        *(entry["environment"] for entry in entries_of_matrix()),
        "coverage",
    ]
    assert sorted(in_workflow) == sorted(ENVIRONMENTS)
    assert "tox run -e coverage" in str(jobs["coverage"]["steps"])


def test_workflow_runs_each_environment_on_its_python():
    for entry in entries_of_matrix():
        python = entry["python"].replace(".", "")
        assert entry["environment"].startswith(f"py{python}-")


def test_gate_runs_all_that_this_machine_has():
    """All but the Pythons and the database that only the workflow has."""
    elsewhere = re.compile(r"py31[145]-|.*-mysql|coverage")
    expected = {name for name in ENVIRONMENTS if not elsewhere.match(name)}
    (line,) = re.findall(
        r"^    (\S+,\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE
    )
    assert set(line.split(",")) == expected


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path):
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_has_least_permissions(path):
    """Nothing by default; who may write or sign does nothing else."""
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        writes = {k for k, v in job["permissions"].items() if v != "read"}
        assert len(writes) <= 1
        checkouts = [
            s for s in job["steps"] if "actions/checkout@" in s.get("uses", "")
        ]
        assert all(s["with"]["persist-credentials"] is False for s in checkouts)
        assert not (writes and checkouts)


def test_hooks_have_the_versions_of_tox():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    revisions = {hook["id"]: repo["rev"] for repo in hooks for hook in repo["hooks"]}
    requirements = {
        requirement.name: requirement.specifier
        for requirement in map(
            Requirement,
            (d for d in tox_list("testenv:lint", "deps") if not d.startswith("-")),
        )
    }
    for hook, tool in {
        "ruff-check": "ruff",
        "typos": "typos",
        "djhtml": "djhtml",
        "djlint-django": "djlint",
        "zizmor": "zizmor",
    }.items():
        assert revisions[hook].removeprefix("v") in requirements[tool]
    (biome,) = (
        hook["additional_dependencies"]
        for repo in hooks
        for hook in repo["hooks"]
        if hook["id"] == "biome-check"
    )
    assert f"npx --yes {biome[0]} " in TOX


def test_every_folder_with_requirements_is_watched():
    """Dependabot looks only where it is told."""
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    (pip,) = (each for each in updates if each["package-ecosystem"] == "pip")
    skipped = {".tox", ".venv", "node_modules"}
    folders = {
        f"/{path.parent.name}"
        for path in ROOT.glob("*/requirements.txt")
        if path.parent.name not in skipped
    }
    assert set(pip["directories"]) == folders | {"/"}
    assert all(each["cooldown"] for each in updates)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem
)
def test_module_at_the_top_says_what_is_public(path):
    """What is named there exists, and pyright knows its type (.ci/check_types.py)."""
    declared = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert len(declared) == (path.stem != "__init__")


@pytest.mark.django_db
def test_migrations_are_complete():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
