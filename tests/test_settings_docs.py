"""docs/settings.md matches the declarations of the settings."""

from pathlib import Path

import scripts

ROOT = Path(__file__).resolve().parent.parent


def test_settings_page_is_current() -> None:
    script = scripts.load(ROOT / "scripts" / "settings_docs.py")
    assert script.PAGE.read_text("utf-8") == script.page(), "run python scripts/settings_docs.py"


def test_settings_page_lists_every_setting() -> None:
    from codetalker_cli.presets import resolve

    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for key, _, _ in resolve("demo").rows():
        assert f"| `{key}` |" in text or key in ("custom",), key
