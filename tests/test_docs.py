"""What the documents say is true of the program."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

from commands import reference
from finetuning import errors, recipes
from finetuning.azure.settings import Settings, read_env_file
from finetuning.errors import FineTuneError
from finetuning.form.run import FineTune
from finetuning.planning.rules.rights import needed_rights

ROOT = Path(__file__).parent.parent
COMMANDS = ROOT / "commands" / "app.py"
PAGES = [*sorted(ROOT.glob("[A-Z]*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path
    for folder in ("commands", "flows", "tasks", "finetuning", "deployments")
    for path in (ROOT / folder).rglob("*.py")
]


def settings_of_the_example() -> set[str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {found[1] for line in lines if (found := re.match(r"#?([A-Z][A-Z0-9_]+)=", line))}


def variables_of_the_program() -> set[str]:
    """Every variable that our side reads: of the settings, or asked for by its name."""
    read = {str(field.alias) for field in Settings.model_fields.values()}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", text))
        read |= set(re.findall(r"variable=\"([A-Z_]+)\"", text))  # of a table's override
        for constant in re.findall(r"environ\.get\(([A-Z_]+)[,)]", text):
            read |= set(re.findall(rf"^{constant} = \"([A-Z_]+)\"", text, re.MULTILINE))
    return {one for one in read if not one.startswith("PREFECT")}


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_example_names_every_setting_and_no_other() -> None:
    assert settings_of_the_example() == variables_of_the_program()


def test_every_line_of_the_example_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUNE_ENV_FILE")
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    values = re.sub(r"^#?([A-Z][A-Z0-9_]+)=.*$", r"\1=x", text, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(values.replace("FINETUNE_ENV_FILE=x", ""))

    found = read_env_file(tmp_path)

    assert set(found) == settings_of_the_example() - {"FINETUNE_ENV_FILE"}


@pytest.mark.parametrize("name", [".env", "config.json", ".azureml/config.json"])
def test_files_with_secrets_are_kept_out_of_git_and_of_the_image(name: str) -> None:
    checked = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=ROOT, check=False)

    assert checked.returncode == 0
    kept_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert f"**/{name.split('/')[0]}" in kept_out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"(?:^ {4}|`)make ((?:[a-z-]+ ?)+)", text, re.MULTILINE)

    named = {word for command in commands for word in command.split()}
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    top = "commands|flows|tasks|finetuning|deployments|emulator|benchmarks|tests|docs"
    named = set(re.findall(rf"[`(| ]((?:{top})/[\w./-]*\w)", text))

    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))

    local = [one for one in links if not one.startswith("http")]
    assert [one for one in local if not (page.parent / one).exists()] == []


def test_the_licence_is_the_one_that_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (ROOT / "LICENSE").read_text().startswith(f"{project['license']} License\n")
    assert "The azureml-fine-tune-flow authors" in (ROOT / "LICENSE").read_text()


def test_modules_that_a_make_target_runs_exist() -> None:
    modules = re.findall(r"python -m ((?!pip|pytest|venv)[\w.]+)", (ROOT / "Makefile").read_text())

    missing = [
        one
        for one in modules
        if not (ROOT / f"{one.replace('.', '/')}.py").exists()
        and not (ROOT / one.replace(".", "/") / "__main__.py").exists()
    ]
    assert missing == []


def test_the_role_allows_what_a_run_needs() -> None:
    role = json.loads((ROOT / "docs" / "azure-role.json").read_text())
    run = FineTune.model_validate({"compute": {"may_create": False}})

    allowed = {one.lower() for one in role["Actions"]}
    assert {one.lower() for one in needed_rights(run)} <= allowed


def kinds_of(error: type[Exception]) -> set[str]:
    """The names of all classes below one."""
    below = error.__subclasses__()
    return {one.__name__ for one in below}.union(*(kinds_of(one) for one in below), set())


def test_every_error_has_an_entry_with_cause_and_remedy_and_no_other_has() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=\n## |\Z)", text, re.MULTILINE | re.DOTALL))

    assert set(entries) == {one for one in kinds_of(FineTuneError) if hasattr(errors, one)}
    for name, entry in entries.items():
        assert re.match(r"- \*\*Cause\*\* \S.+\n- \*\*Remedy\*\* \S.+", entry, re.DOTALL), name


def test_the_reference_is_what_the_types_say() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    assert page == reference.as_markdown(), "run 'make reference'"
    assert {f"`{name}`" for name in settings_of_the_example()} <= set(page.split())
    assert {"`preset`", "`data.filters.max_tokens`", "`compute.steps.finetune.cluster`"} <= set(
        page.split()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_of_the_command_line_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command, rest in re.findall(r"(?:^ {4}|`)fine-tune ([a-z]+)([^`\n]*)", text, re.MULTILINE):
        assert command in SOURCES_OF_COMMANDS, command
        for option in re.findall(r"--([a-z][\w-]*)", rest):
            declared = SOURCES_OF_COMMANDS[command]
            assert option in FineTune.model_fields or f"{option}" in declared, (command, option)


#: Where the options of each command are declared.
SOURCES_OF_COMMANDS = {
    command: "".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    for command, paths in {
        "demo": ["deployments/demo.py"],
        "up": ["deployments/up.py"],
        "plan": ["flows/plan.py", "finetuning/form/command_line.py"],
        "run": ["commands/run.py", "finetuning/form/command_line.py"],
        "reap": ["flows/reap.py"],
        **{name: ["commands/app.py"] for name in ("status", "logs", "cancel", "report", "prices")},
    }.items()
}


def test_the_page_of_the_command_line_names_every_command() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    declared = re.findall(r"^@app\.command.*\ndef (\w+)", COMMANDS.read_text(), re.MULTILINE)

    assert set(re.findall(r"^\| `fine-tune (\w+)`", page, re.MULTILINE)) == set(declared)
    assert set(declared) == set(SOURCES_OF_COMMANDS)


@pytest.mark.parametrize("page", ["adding-a-step.md", "adding-a-recipe.md"])
def test_the_example_of_a_page_runs(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^ *```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    before = dict(recipes._RECIPES)

    try:
        exec(compile(textwrap.dedent(block), page, "exec"), {"__name__": "example"})
        made = set(recipes._RECIPES) - set(before)
        assert made == ({"exact_answers"} if "recipe" in page else set())
        assert all(recipes.find_recipe(name).splits.asked == "test_sft" for name in made)
    finally:
        recipes._RECIPES.clear()
        recipes._RECIPES.update(before)


def test_no_module_of_flows_hides_a_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert {path.stem for path in (ROOT / "flows").glob("*.py")} & packages == set()


def test_the_lock_holds_names_and_versions_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().split()

    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)] == []
