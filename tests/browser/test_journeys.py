"""What people come for, done as a person does it."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

pytestmark = pytest.mark.browser


def card(page, title: str):
    """The metric card of that title."""
    return page.get_by_test_id("stMetric").filter(has_text=title).first


def value(page, title: str) -> str:
    return card(page, title).get_by_test_id("stMetricValue").inner_text().strip()


def settled(page, title: str, timeout: float = 120_000) -> str:
    """The value of a card once it shows a number."""
    page.wait_for_function(
        """title => [...document.querySelectorAll('[data-testid=stMetric]')].some(
            m => m.innerText.includes(title) && /\\d/.test(
                m.querySelector('[data-testid=stMetricValue]')?.innerText ?? ''))""",
        arg=title,
        timeout=timeout,
    )
    return value(page, title)


def measured(page) -> str:
    """The accuracy of this recipe once everything is measured."""
    page.wait_for_function(
        """() => { const text = document.body.innerText;
            return !text.includes('of the recipe before') && !/Measuring|waiting for its turn/.test(text)
                && /Accuracy[\\s\\S]{0,20}\\d/.test(text); }""",
        timeout=180_000,
    )
    return value(page, "Accuracy")


def no_traceback(page) -> None:
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_text("could not be drawn").count() == 0  # what the page shows in a traceback's place


def test_build_share_and_open_elsewhere(new_page, shot):
    page = new_page()
    page.get_by_text("What each step does").first.wait_for()
    before = settled(page, "MACs")
    slider = page.get_by_test_id("stSlider").first.get_by_role("slider")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    page.wait_for_function("old => !document.body.innerText.includes(old)", arg=f"\n{before}\n")
    accuracy = measured(page)
    assert accuracy.endswith("%")
    macs, size = value(page, "MACs"), value(page, "Size on disk")
    assert macs != before
    shot(page, "built")

    page.get_by_role("button", name="Copy link").click()
    link = page.get_by_test_id("stCode").first.inner_text().strip()
    token = re.search(r"\?r=([\w-]+)", link)
    assert token
    elsewhere = new_page(f"/?r={token[1]}")
    assert settled(elsewhere, "MACs") == macs
    assert value(elsewhere, "Size on disk") == size
    assert measured(elsewhere) == accuracy
    shot(elsewhere, "opened-elsewhere")
    no_traceback(elsewhere)


def test_damaged_link_is_one_sentence(new_page):
    page = new_page("/?r=thisisnotarecipe")
    page.get_by_text("This link", exact=False).first.wait_for()
    assert settled(page, "MACs")
    no_traceback(page)


# where the knee, or a recipe of the front where nothing bends, stands on the screen
KNEE = """() => {
    const plot = document.querySelector('.js-plotly-plot'), box = plot.getBoundingClientRect();
    const { _size: size, xaxis, yaxis } = plot._fullLayout;
    const named = name => plot.calcdata.find(points => points[0].trace.name === name);
    const point = (named('Knee') ?? named('Pareto front'))[0];
    return [box.left + size.l + xaxis.d2p(point.x), box.top + size.t + yaxis.d2p(point.y)];
}"""


def test_sweep_reload_cancel_resume_and_click_the_knee(new_page, shot):
    page = new_page("/pareto")
    form = page.get_by_test_id("stExpander").filter(has_text="Measure more").locator("details")
    form.wait_for()
    if form.get_attribute("open") is None:  # journeys before this one measured something
        form.locator("summary").click()
    page.get_by_role("button", name=re.compile(r"Measure \d+ recipes?")).click()
    page.get_by_role("button", name="Cancel").first.wait_for()
    page.reload()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("button", name="Resume").first.click(timeout=240_000)
    page.get_by_text("Recipes on the front").first.wait_for(timeout=480_000)
    page.get_by_role("button", name="Cancel").first.wait_for(state="detached", timeout=480_000)
    plot = page.locator(".js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(2_000)
    shot(page, "front")
    no_traceback(page)
    page.mouse.click(*page.evaluate(KNEE))
    page.wait_for_url(lambda url: "/pareto" not in url)
    assert settled(page, "MACs")

    page = new_page("/advisor")
    page.get_by_text(re.compile(r"of \d+ measured recipes fits?")).first.wait_for(timeout=120_000)
    shot(page, "advice")
    no_traceback(page)
    page.get_by_role("button", name="Open in Build").first.click()
    assert settled(page, "MACs")


def test_upload_and_see_attention(new_page, shot):
    page = new_page("/attention")
    picture = io.BytesIO()
    Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(picture, "JPEG")
    page.get_by_text("Upload", exact=False).first.click()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "picture.jpg", "mimeType": "image/jpeg", "buffer": picture.getvalue()}
    )
    page.locator(".js-plotly-plot").first.wait_for()
    for words in ("Baseline", "Compressed"):
        page.get_by_text(words, exact=False).first.wait_for()
    shot(page, "attention")
    page.get_by_text("All blocks at a glance").wait_for()
    baseline = page.locator(".js-plotly-plot").nth(1).locator(".nsewdrag").first
    baseline.scroll_into_view_if_needed()
    page.wait_for_timeout(1_000)
    box = baseline.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    page.get_by_text("from the framed patch in row 3, column 6", exact=False).wait_for()
    shot(page, "patch")
    no_traceback(page)


PATHS = [
    "", "costs", "attention", "broke", "benchmark", "devices", "pareto", "advisor", "runs", "distil", "methods",
    "sources",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 430)])
def test_every_page_opens(new_page, shot, path, scheme, width):
    page = new_page(f"/{path}", width=width, scheme=scheme)
    page.get_by_role("heading").first.wait_for()
    page.wait_for_timeout(6_000)  # charts and measurements settle for the picture
    shot(page, "opened")
    no_traceback(page)
