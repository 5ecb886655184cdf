"""The file of regions: what may be in it, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.regions import DEFAULT_REGIONS, LOCAL, Region
from placet_server.config import ConfigError
from placet_server.regions.file import load_regions, read_regions

GOOD = """
[dublin]
title = "Dublin"
jurisdiction = "EU"
regulations = ["GDPR"]
latitude = 53
longitude = -6.26
endpoints = ["eu1.example.net:7443", "[::1]:7717"]

[barge]
latitude = 0.0
longitude = 0.0
"""


def _file(folder: Path, text: str) -> Path:
    file = folder / "regions.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_takes_the_place_of_the_regions_that_ship(tmp_path: Path) -> None:
    regions = load_regions(str(_file(tmp_path, GOOD)), here="dublin")

    assert list(regions) == [
        Region(name="barge", location=GeoPoint(0, 0)),
        Region(
            name="dublin",
            title="Dublin",
            jurisdiction="EU",
            regulations=("GDPR",),
            location=GeoPoint(53, -6.26),
            endpoints=("eu1.example.net:7443", "[::1]:7717"),
        ),
    ]
    assert regions.here == "dublin"


def test_the_example_in_the_documentation_is_good(tmp_path: Path) -> None:
    text = Path("docs/regions.md").read_text("utf-8")
    example = text.split("```toml\n")[1].split("```")[0]

    assert {region.jurisdiction for region in read_regions(_file(tmp_path, example))} == {
        "EU",
        "US",
    }


def test_without_a_file_there_are_the_six() -> None:
    assert {region.name for region in load_regions("", here="us-east")} == {
        region.name for region in DEFAULT_REGIONS
    }
    assert LOCAL in load_regions("", here=LOCAL)


@pytest.mark.parametrize(
    ("here", "hint"), [("eu-vest", "; did you mean `eu-west`?"), ("mars", "in `topology.file`")]
)
def test_a_node_has_to_be_in_a_region_that_there_is(here: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_regions("", here=here)

    assert str(refused.value).startswith(f"`server.region` is `{here}`, which is no region; use")
    assert str(refused.value).endswith(hint)


_PLACE = "latitude = 1\nlongitude = 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no regions; write a table for each"),
        ("name = 1", "`name` is not in a region"),
        (f"[local]\n{_PLACE}", "[local]: that is what nodes are in that have no region"),
        (f'["a b"]\n{_PLACE}', "[a b]: call it by 1 to 64 letters"),
        (f"[x]\n{_PLACE}jurisdictoin = 'EU'", "unknown key `jurisdictoin`; did you mean"),
        (f"[x]\n{_PLACE}zzz = 'EU'", "unknown key `zzz`; use title, jurisdiction"),
        # Under `eu` nothing would be allowed that has to be under `EU`.
        (f"[x]\n{_PLACE}jurisdiction = 'eu'", "`jurisdiction` is `eu`, which is not the name"),
        (f"[x]\n{_PLACE}regulations = 'GDPR'", "which is not a list of texts"),
        (f"[x]\n{_PLACE}endpoints = ['nowhere']", "which is not a list of addresses"),
        (f"[x]\n{_PLACE}title = 3", "`title` is `3`, which is not a text"),
        ("[x]\nlatitude = 1", "`latitude` and `longitude` are missing"),
        ("[x]\nlatitude = 'north'\nlongitude = 1", "which is not a number of degrees"),
        ("[x]\nlatitude = true\nlongitude = 1", "which is not a number of degrees"),
        ("[x]\nlatitude = nan\nlongitude = 1", "`latitude` is nan; use degrees from -90"),
        ("[x]\nlatitude = 1\nlongitude = 181", "`longitude` is 181; use degrees from -180"),
        ("[x", "are not valid TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = _file(tmp_path, text)

    with pytest.raises(ConfigError) as refused:
        read_regions(file)

    assert said in str(refused.value)
    assert str(file) in str(refused.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = _file(tmp_path, f"[x]\n{_PLACE}titel = 'X'\n[y]\nlatitude = 1\n")

    with pytest.raises(ConfigError) as refused:
        read_regions(file)

    assert len(str(refused.value).split("\n")) == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory; check `topology\.file`"):
        load_regions(str(tmp_path / "none.toml"), here=LOCAL)
