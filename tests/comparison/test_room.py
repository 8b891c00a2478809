"""What the room as a whole promises."""

import subprocess
import sys

from lightning_separation.comparison import ASSUMES


def test_neither_torch_nor_the_slow_part_of_scipy_is_imported():
    code = "import sys, lightning_separation.comparison; print({'torch', 'scipy.stats'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_every_test_says_what_it_assumes():
    assert set(ASSUMES) == {"jackknife", "fisher", "welch"}
    assert "seeds" in ASSUMES["jackknife"]
    assert "36 of 100" in ASSUMES["fisher"]
    assert all(text.endswith(".") and "\n" not in text for text in ASSUMES.values())
