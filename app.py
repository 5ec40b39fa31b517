"""The pages of VitEdge in their order. Run with `streamlit run app.py`."""

from pathlib import Path

import streamlit as st

from vitedge_core.ui import state

PAGES = {
    "": (("build", "Build", ":material/tune:", "Compose a recipe and see what it costs and what it breaks."),),
    "This recipe": (
        ("costs", "Costs", ":material/calculate:", "What a recipe costs: where, in which form, and how it grows."),
        ("attention", "Attention", ":material/visibility:", "Where the model looks, before and after."),
        ("broke", "What broke", ":material/healing:", "Which layers, answers and classes suffered."),
        ("benchmark", "Benchmark", ":material/speed:", "How fast recipes really run here, engine by engine."),
        ("devices", "Edge devices", ":material/developer_board:", "What a recipe takes on named devices."),
    ),
    "Many recipes": (
        ("pareto", "Pareto", ":material/scatter_plot:", "All measured recipes, the front, and sweeps."),
        ("advisor", "Advisor", ":material/lightbulb:", "A target in, recipes out, and how surely they fit."),
        ("runs", "Runs", ":material/list_alt:", "Everything that was measured: find, compare, export, import."),
        ("distil", "Distil", ":material/school:", "Train a student with a teacher and keep it."),
    ),
    "Background": (
        ("methods", "Methods", ":material/menu_book:", "Every technique: idea, cost, limits, reference."),
        ("sources", "Sources", ":material/fact_check:", "Where every figure comes from."),
    ),
}
ICONS = Path(__file__).parent / "assets" / "icons"

st.set_page_config("VitEdge", ICONS / "patches.svg", layout="wide", initial_sidebar_state=380)
st.logo(ICONS / "vitedge.svg", size="large", icon_image=ICONS / "patches.svg")
state.start()
pages = {
    section: [
        st.Page(f"pages/{name}.py", title=title, icon=icon, help=purpose, default=name == "build")
        for name, title, icon, purpose in members
    ]
    for section, members in PAGES.items()
}
st.navigation(pages, position="top").run()
state.publish()
