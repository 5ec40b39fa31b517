"""The app in a real Chromium: first page after the server's start, slider to repainted numbers, memory at rest.

Prints each figure beside its limit. Needs Chromium; the machine should have nothing else to do.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
MOVES = 40
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# resolves with the milliseconds from the key press to the moment when the MACs card shows another number
REPAINT = """() => new Promise(resolve => {
  const shown = () => [...document.querySelectorAll('[data-testid=stMetric]')]
    .find(m => m.innerText.includes('MACs'))?.querySelector('[data-testid=stMetricValue]')?.innerText;
  const before = shown(), start = performance.now();
  const look = () => shown() && shown() !== before ? resolve(performance.now() - start) : requestAnimationFrame(look);
  look();
})"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def repaints(page: Page) -> list[float]:
    """Milliseconds of each of `MOVES` moves of the first slider, back and forth."""
    slider = page.get_by_test_id("stSlider").first.get_by_role("slider")
    slider.focus()
    times = []
    for move in range(MOVES):
        page.evaluate(f"() => {{ window.repainted = ({REPAINT})(); }}")
        slider.press("ArrowRight" if (move // 4) % 2 == 0 else "ArrowLeft")
        times.append(page.evaluate("() => window.repainted"))
        page.wait_for_timeout(700)
    return times


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium on this machine: nothing was measured")
        return
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port),
               "--server.headless", "true", "--server.address", "127.0.0.1"]  # fmt: skip
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        start = time.monotonic()
        server = subprocess.Popen(command, cwd=ROOT, env={"VITEDGE_DATA": data, "PATH": "/usr/bin:/bin"})
        try:
            while True:
                try:
                    page.goto(f"http://127.0.0.1:{port}/")
                    break
                except PlaywrightError:
                    time.sleep(0.1)
            page.get_by_text("MACs").first.wait_for(timeout=120_000)
            page.get_by_test_id("stSlider").first.wait_for(timeout=120_000)
            print(f"first page usable after {time.monotonic() - start:.1f} s (limit 8 s)")
            page.get_by_test_id("stMetric").nth(5).wait_for(timeout=120_000)
            page.wait_for_timeout(20_000)
            times = sorted(repaints(page))
            late = times[int(len(times) * 0.95) - 1]
            print(f"slider to repainted numbers, {len(times)} moves:")
            print(f"  median {statistics.median(times):.0f} ms (limit 300), 95th percentile {late:.0f} ms (limit 600)")
            page.wait_for_timeout(20_000)
            resting = resident_bytes(server.pid) / 1e9
            print(f"memory of the server with one session at rest: {resting:.2f} GB (limit 1.5)")
        finally:
            server.terminate()
            browser.close()


if __name__ == "__main__":
    main()
