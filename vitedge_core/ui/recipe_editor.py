"""The recipe composer: model, presets, steps with widgets drawn from their knobs, and what a step does or why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe, Scalar, Step
from vitedge_core.ui import cache, state

if TYPE_CHECKING:
    from vitedge_core.models.zoo import ModelCard
    from vitedge_core.techniques.base import Knob

SHOWN = 2  # knobs of a step that are always visible; the others are behind "More"
FINEST = 400  # positions of a slider; a wider range gets a box for the number
UP, DOWN = ":material/arrow_upward: Move up", ":material/arrow_downward: Move down"
RESET, ABOUT = ":material/restart_alt: Reset the knobs", ":material/menu_book: About this method"
REMOVE = ":material/delete: Remove"


def model_picker() -> None:
    """Choose a model of the catalogue, or type the name of any timm classifier."""
    known = cache.models()
    chosen = state.current_recipe().model
    names = [*known, *({chosen} - set(known))]
    key = f"model-{state.model_number()}"
    st.selectbox(
        "Model", names, index=names.index(chosen), key=key, format_func=lambda name: _described(name, known),
        accept_new_options=True, on_change=_model_chosen, args=(key,),
        help="The models this repository trained, your own, a zoo of 91, or any other timm classifier: type its name.",
    )  # fmt: skip


def _described(name: str, known: Mapping[str, ModelCard]) -> str:
    card = known.get(name)
    return name if card is None else f"{card.title} · {card.params / 1e6:.1f} M"


def _model_chosen(key: str) -> None:
    name = (state.widget(key) or "").strip()
    try:
        cache.planned(Recipe(name))
        state.set_model(name)
    except VitEdgeError as error:
        state.set_model(state.current_recipe().model)
        state.notice(str(error))


def presets() -> None:
    """Recipes to start from, fitted to the model."""
    offered = {preset.title: preset for preset in cache.presets(state.current_recipe().model)}
    st.menu_button(
        "Start from a preset", list(offered), key="preset", icon=":material/auto_awesome:", width="stretch",
        format_func=lambda title: f"**{title}**: {offered[title].lead[0].lower()}{offered[title].lead[1:]}",
        on_click=lambda: state.set_recipe(offered[state.widget("preset")].recipe), disabled=not offered,
    )  # fmt: skip


def adder() -> None:
    """A search box over the catalogue; what is picked becomes the last step."""
    catalogue = cache.catalogue()
    key = f"adder after {[number for number, _ in state.steps()]}"  # empty again once a step was added
    st.selectbox(
        "Add a step", list(catalogue), index=None, key=key, placeholder="Add a step: search by name or family",
        format_func=lambda key: f"{catalogue[key].card.family.value}: {catalogue[key].card.title}",
        on_change=_added, args=(key,), label_visibility="collapsed",
    )  # fmt: skip


def _added(key: str) -> None:
    chosen = state.widget(key)
    if chosen in cache.catalogue():
        try:
            state.add_step(Step.of(chosen))
        except VitEdgeError as error:
            state.notice(str(error))


def steps(problems: Mapping[int, str], effects: Sequence[str]) -> None:
    """A card for every step, in order.

    Args:
        problems: Why a step cannot be carried out, by its number among the active ones.
        effects: What each active step changes, in words.
    """
    active = 0
    for place, (number, step) in enumerate(state.steps(), 1):
        with st.container(border=True, gap="small"):
            _head(number, place, step)
            if step.enabled:
                if active in problems:
                    st.markdown(f":orange[:material/block: {plain(problems[active])}]")
                elif effects[active]:
                    st.caption(effects[active])
                active += 1
                _knobs(number, step)


def _head(number: int, place: int, step: Step) -> None:
    key = f"enabled-{number}"
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.toggle(
            f"**{place}. {cache.title_of(step)}**", step.enabled, key=key, width="stretch", wrap=True,
            on_change=lambda: state.change_step(number, Step(step.technique, step.params, bool(state.widget(key)))),
        )  # fmt: skip
        chosen = st.menu_button(
            ":material/more_vert:", [UP, DOWN, RESET, ABOUT, REMOVE], key=f"menu-{number}", type="tertiary",
            on_click=_menu, args=(number, step), help="Order, reset, remove",
        )  # fmt: skip
    if chosen == ABOUT:
        state.remember("method", step.technique)
        st.switch_page("pages/methods.py")


def _menu(number: int, step: Step) -> None:
    chosen = state.widget(f"menu-{number}")
    if chosen in {UP, DOWN}:
        state.move_step(number, -1 if chosen == UP else 1)
    elif chosen == RESET:
        state.replace_step(number, Step(step.technique, enabled=step.enabled))
    elif chosen == REMOVE:
        state.remove_step(number)


def _knobs(number: int, step: Step) -> None:
    technique = cache.catalogue().get(step.technique)
    knobs = technique.knobs() if technique else ()
    for knob in knobs[:SHOWN]:
        _knob(number, step, knob)
    if len(knobs) > SHOWN:
        with st.expander("More", key=f"more-{number}", type="compact"):
            for knob in knobs[SHOWN:]:
                _knob(number, step, knob)


def _knob(number: int, step: Step, knob: Knob) -> None:
    """The widget that fits the knob, showing the recipe's value and writing into the recipe.

    The recipe's value is the widget's default and never written into the session: a browser that draws a widget late
    would forget what was written, and report the default as if a person had chosen it.
    """
    key = f"knob-{number}-{knob.name}"
    value: Any = shown(knob, step.knobs.get(knob.name, knob.default))
    common = {"key": key, "help": knob.help, "on_change": _turned, "args": (number, knob.name, key)}
    if knob.options:
        st.segmented_control(knob.label, list(dict.fromkeys(knob.options)), default=value, required=True, **common)
    elif isinstance(knob.default, bool):
        st.toggle(knob.label, value, **common)
    elif isinstance(knob.default, str):
        st.text_input(knob.label, value, max_chars=200, **common)
    else:
        _number(knob, value, common)


def _number(knob: Knob, value: float, common: dict[str, Any]) -> None:
    kind: Any = type(knob.default)  # int or float: a slider wants all its numbers of one kind
    low, high, step = kind(knob.low), kind(knob.high), kind(knob.step)
    if (high - low) / step <= FINEST:
        st.slider(knob.label, low, high, value, step, **common)
    else:
        tiny = isinstance(step, float) and step < 1e-3
        st.number_input(knob.label, low, high, value, step, format="%.1e" if tiny else None, **common)


def _turned(number: int, name: str, key: str) -> None:
    value = state.widget(key)
    if value is not None:
        state.set_knob(number, name, value)


def shown(knob: Knob, value: Scalar) -> Scalar:
    """What a widget can show of a value that may have come from a stranger's link: the nearest allowed one."""
    if knob.options:
        return value if value in knob.options else knob.default
    if isinstance(knob.default, bool | str):
        return value if type(value) is type(knob.default) else knob.default
    if isinstance(value, bool | str):
        return knob.default
    assert knob.low is not None
    assert knob.high is not None
    return type(knob.default)(min(max(value, knob.low), knob.high))


def own_things() -> None:
    """A checkpoint, a folder of images, a recipe of the user's own."""
    opened = st.expander("Your own model, images or recipe", key="own", icon=":material/upload:", on_change="rerun")
    if opened.open:
        with opened:
            _own_images()
            _own_checkpoint()
            _own_recipe()


def _own_images() -> None:
    st.text_input(
        "Folder of images", state.images() or "", key="images", on_change=_images_named,
        placeholder="/path/to/a/folder of class folders",
        help="One folder per class, on the machine that runs VitEdge; empty uses the model's own images.",
    )  # fmt: skip


def _images_named() -> None:
    where = (state.widget("images") or "").strip()
    try:
        if where:
            from vitedge_core.datasets.sets import open_images

            open_images(where)
        state.set_images(where or None)
    except VitEdgeError as error:
        state.notice(str(error))


def _own_checkpoint() -> None:
    with st.form("checkpoint", border=False, clear_on_submit=True):
        file = st.file_uploader(
            "Checkpoint", ["safetensors", "pt", "pth", "bin"], key="checkpoint-file",
            help="Weights of a timm architecture: safetensors, or a PyTorch state dict. Nothing in it is executed.",
        )  # fmt: skip
        name = st.text_input("Its architecture", state.current_recipe().model, key="checkpoint-architecture")
        title = st.text_input("Your name for it", key="checkpoint-title", placeholder="My model")
        if st.form_submit_button("Load it", icon=":material/upload:") and file is not None:
            _load(file.getvalue(), file.name, name.strip(), title.strip() or file.name)


def _load(data: bytes, filename: str, architecture: str, title: str) -> None:
    from vitedge_core.models.load import load_checkpoint

    try:
        state.set_model(load_checkpoint(data, filename, architecture, title).name)
        st.rerun()
    except VitEdgeError as error:
        st.error(str(error), icon=":material/error:")


def _own_recipe() -> None:
    file = st.file_uploader("Recipe file", ["json"], key=f"recipe-{state.recall('opened', 0)}", max_upload_size=1)
    if file is None:
        return
    try:
        state.set_recipe(Recipe.from_json(file.getvalue()))
        state.remember("opened", state.recall("opened", 0) + 1)  # an empty uploader next time
        st.rerun()
    except VitEdgeError as error:
        st.error(str(error), icon=":material/error:")


def plain(sentence: str) -> str:
    """A sentence with what markdown would read as its own signs made harmless."""
    return "".join(f"\\{sign}" if sign in "[]*_`:$<>#~|" else sign for sign in sentence)
