"""The Prefect UI in headless Chromium: the form, a run started by it, and what it leaves.

With SCREENSHOTS=docs/images (``make screenshots``) the documents' pictures are taken anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.deployments.conftest import Stack
from tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import ElementHandle, Locator, Page, Request

#: Height of the browser's window, in pixels.
SCREEN = 1000

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Debian's package chromium is not installed"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    direct = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],  # CI is root in a container, where the sandbox cannot start
            env=direct,
        )
        found = browser.new_page(viewport={"width": 1400, "height": SCREEN})
        found.set_default_timeout(60_000)
        yield found
        browser.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = os.environ.get("SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def form(served: Stack, page: Page) -> Page:
    """The form that Run opens for the weekly fine-tune."""
    served.emulator.clear_faults()
    weekly = served.server.deployment("fine-tune/run")["id"]
    page.goto(f"{served.server.ui}/deployments/deployment/{weekly}/run")
    field(page, "Percentage (Optional)").wait_for()
    return page


def field(page: Page, label: str) -> Locator:
    """The input of a field of the form, by the field's label."""
    own = "contains(concat(' ', @class, ' '), ' schema-form-property ')"
    return page.locator(
        f"xpath=//span[normalize-space()='{label}']"
        f"/ancestor::div[{own}][1]//*[self::input or self::textarea]"
    ).first


def unfold(form: Page) -> None:
    """Open every fold of the form, as a user does who wants to see all of it."""
    closed = form.locator("xpath=//button[normalize-space()='Defaults' and @aria-selected='true']")
    while closed.count():  # an opened one may bring others
        button = closed.first.element_handle()
        closed.first.locator("xpath=following-sibling::button").click()
        until("the fold is open", lambda: not is_chosen(button))  # noqa: B023


def is_chosen(button: ElementHandle) -> bool:
    """Whether a button of a group is there and chosen."""
    return button.is_visible() and button.get_attribute("aria-selected") == "true"


def fields_of(schema: dict[str, Any]) -> Iterator[str]:
    """Description of every field that the form of ``run`` shows once it is unfolded."""
    for definition in schema["definitions"].values():
        shown, beside = definition["properties"], definition.get("patternProperties", {})
        for field in (*shown.values(), *beside.values()):
            group = field.get("$ref", "").split("/")[-1]
            yield field.get("description") or schema["definitions"][group]["description"]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_form_is_a_few_screens_tall(form: Page, pictures: Path) -> None:
    form.screenshot(path=pictures / "form.png")
    box = form.locator(".schema-form-property").first.bounding_box()

    assert box is not None
    assert box["height"] < 4 * SCREEN


def test_the_unfolded_form_shows_every_parameter_with_its_description(
    form: Page, served: Stack
) -> None:
    unfold(form)
    shown = flat(form.inner_text("body"))

    schema = served.server.deployment("fine-tune/run")["parameter_openapi_schema"]
    # shown once a step has a compute of its own, or a suite has been added
    optional = {"StepCompute", "FileSuite"}
    schema["definitions"] = {
        name: found for name, found in schema["definitions"].items() if name not in optional
    }
    missing = [what for what in fields_of(schema) if flat(what) not in shown]
    assert missing == []


def test_the_form_shows_the_defaults_and_leaves_the_presets_fields_empty(form: Page) -> None:
    unfold(form)
    values = {
        "Percentage (Optional)": "",
        "Preset (Optional)": "phi-4",
        "Request timeout (ms) (Optional)": "90000",
        "Max new tokens (Optional)": "200",
    }

    shown = {label: field(form, label).input_value() for label in values}
    assert shown == values


def submit(form: Page) -> str:
    """Press Submit, and again where a busy SQLite refused it, as a user would; the run's id."""
    for _ in range(4):
        with form.expect_request(is_trigger, timeout=20_000) as asked:
            form.get_by_role("button", name="Submit").click()
        answer = asked.value.response()
        assert answer is not None, f"no answer to {asked.value.url}"
        if answer.ok:
            return str(answer.json()["id"])
        said = f"{answer.status} {answer.text()}"
    raise AssertionError(f"the form's run was refused: {said}\n{form.inner_text('body')[-2000:]}")


def is_trigger(request: Request) -> bool:
    return request.method == "POST" and request.url.endswith("/create_flow_run")


@pytest.fixture(scope="module")
def finished(form: Page, served: Stack, pictures: Path) -> str:
    """A run that the form started, at its end: its id."""
    changes = {
        "Percentage (Optional)": "1",
        "Max rows (Optional)": "64",
        "Poll seconds (Optional)": "1",
    }
    unfold(form)
    for label, value in changes.items():
        field(form, label).fill(value)
    flow_run = submit(form)
    assert served.server.ended(flow_run) == "COMPLETED", served.log.read_text()[-3000:]
    form.goto(f"{served.server.ui}/runs/flow-run/{flow_run}")
    form.get_by_text("Wait for the fine-tuning job").first.wait_for()
    form.screenshot(path=pictures / "run.png")
    return flow_run


def test_a_run_started_by_the_form_completes_with_a_readable_name(
    page: Page, finished: str
) -> None:
    shown = flat(page.inner_text("body"))

    assert "Phi-4 · ultrachat_200k 1 % · " in shown
    assert "Completed" in shown


def artifacts(served: Stack, flow_run: str) -> dict[str, dict[str, Any]]:
    """The latest artifact of each key of a run."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [flow_run]}}, "sort": "CREATED_DESC"}
    found = served.server.ask("POST", "/artifacts/filter", wanted)
    return {one["key"]: one for one in reversed(found)}


def test_every_artifact_of_a_run_renders(
    page: Page, served: Stack, finished: str, pictures: Path
) -> None:
    found = artifacts(served, finished)
    assert {"plan", "fine-tune-result"} <= set(found)

    for key, artifact in found.items():
        page.goto(f"{served.server.ui}/artifacts/artifact/{artifact['id']}")
        until(f"{key} is rendered", lambda: is_rendered(page, artifact))  # noqa: B023
        page.screenshot(path=pictures / f"artifact-{key}.png")


def is_rendered(page: Page, artifact: dict[str, Any]) -> bool:
    """Whether the page shows what the artifact holds, not only its frame."""
    if artifact["type"] == "image":
        widths = page.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
        return max(widths, default=0) > 300
    shown = page.inner_text("body")
    return all(word in shown for word in words_of(artifact))


def words_of(artifact: dict[str, Any]) -> list[str]:
    """Some words that an artifact must show, by its type."""
    kind, data = artifact["type"], artifact["data"]
    if kind == "table":
        return list(json.loads(data)[0])  # the names of the columns
    if kind == "progress":
        return [f"{data:g}"]
    text = re.sub(r"\]\([^)]*\)", "]", data)  # markdown: of a link only its text is shown
    return re.findall(r"[A-Za-z]{4,}", text)[:5]


def test_the_deployments_page_lists_all_four(page: Page, served: Stack, pictures: Path) -> None:
    page.goto(f"{served.server.ui}/deployments")
    for name in ("weekly", "now", "every-15-minutes", "monthly"):
        page.get_by_role("link", name=name).first.wait_for()

    page.screenshot(path=pictures / "deployments.png")
