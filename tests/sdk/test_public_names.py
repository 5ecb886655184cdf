"""What `import placet` gives, and what it takes."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import textwrap

import pytest

import placet
import placet.aio
import placet.bundles
import placet.local
import placet.local.aio


def test_every_public_name_is_there_and_every_name_that_is_there_is_public() -> None:
    here = {name for name in vars(placet) if not name.startswith("_")}
    modules = {module.name for module in pkgutil.iter_modules(placet.__path__)}

    assert len(placet.__all__) == len(set(placet.__all__))
    assert set(placet.__all__) - here == set()
    assert here - set(placet.__all__) - modules == {"annotations"}


@pytest.mark.parametrize(
    "module", [placet, placet.aio, placet.bundles, placet.local, placet.local.aio]
)
def test_public_classes_and_functions_say_what_they_are_for(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]  # all of them have it
        entry = getattr(module, name)
        if callable(entry) and not name.endswith(("Body", "Place", "WhenStale", "Value")):
            assert entry.__doc__, name


def test_the_tree_of_errors_is_what_its_module_draws() -> None:
    drawing = importlib.import_module("placet._errors").__doc__ or ""
    drawn = {word for word in drawing.split() if word in placet.__all__}
    errors = {
        name
        for name in placet.__all__
        if isinstance(getattr(placet, name), type) and issubclass(getattr(placet, name), Exception)
    }

    assert errors == drawn


def test_following_needs_neither_the_engine_nor_a_cache() -> None:
    """`pip install placet` without the `local` extra: no cedarpy, no cachetools."""
    script = """
        import sys
        for name in ("cedarpy", "cachetools", "placet_server", "sqlalchemy", "typer", "yaml"):
            sys.modules[name] = None
        import placet
        from tests.sdk.source import Source, policy
        from placet._mirror import ITEMS, PolicySetMirror

        source, mirror = Source(policy("a")), PolicySetMirror(ITEMS)
        for message in source.snapshot():
            mirror.apply(message)
        mirror.apply(source.commit(policy("b")))
        assert len(mirror.items) == 2
        try:
            import placet.local
        except ModuleNotFoundError as error:
            assert "placet[local]" in str(error), error
        else:
            raise SystemExit("placet.local was imported without its engine")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
