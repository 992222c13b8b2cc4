from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from compress.errors import BundleError
from compress.records.coverage import Coverage
from compress.reports.html import render
from compress.reports.provenance import command
from tests.records import resealed
from tests.reports.runs import LAYER, candidates, estimated, written

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>&\' \x00\ud800\u202e'
VOID = {"meta", "input", "link", "br", "hr", "img"}


class Document(HTMLParser):
    """Elements of a page with their attributes and text; raises where one is closed that is not the last opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        keys = {key.rstrip("_").replace("_", "-"): value for key, value in wanted.items()}
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in keys.items())
        ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(written(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def document(page: str) -> Document:
    return Document(page)


def test_it_is_well_formed_with_one_main_heading(document: Document) -> None:
    assert document.open == []
    assert document.texts["h1"] == ["int8 is shipped"]
    assert [len(document.all(landmark)) for landmark in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]


def test_ids_are_unique_and_every_reference_inside_resolves(document: Document) -> None:
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [
        str(attributes["href"]).removeprefix("#")
        for attributes in document.all("a")
        if "download" not in attributes
    ]
    wanted += [str(attributes["aria-labelledby"]) for attributes in document.all("section")]
    assert set(wanted) <= set(ids)


def test_the_reason_stands_at_the_top(page: str) -> None:
    reason = "Takes 0.50× the time of fp32 at batch 1"
    assert page.index(reason) < page.index("<main")
    assert "Shipped: int8" not in page  # the heading says so


def test_network_data_date_and_machine_stand_at_the_top(page: str) -> None:
    top = page[: page.index("<main")]
    assert re.search(r"network\.onnx · val\.npz, \d+ samples · \d{4}-\d\d-\d\d \d\d:\d\d · ", top)


def test_the_figures_are_downloaded_from_the_page_itself(page: str, document: Document) -> None:
    (link,) = (each for each in document.all("a") if "download" in each)
    kind, _, text = str(link["href"]).partition(",")
    assert (kind, link["download"]) == ("data:text/csv", "figures.csv")
    rows = list(csv.DictReader(io.StringIO(unquote(text))))
    assert [(row["build"], row["batch"]) for row in rows[:4]] == [
        ("fp32", "1"),
        ("fp32", "32"),
        ("int8", "1"),
        ("int8", "32"),
    ]
    assert (rows[2]["verdict"], rows[2]["ratio_to_fp32"], rows[2]["drop_unit"]) == (
        "shipped",
        "0.5",
        "points",
    )
    assert (rows[-1]["build"], rows[-1]["p50_ms"]) == ("pruned", "")


def test_it_loads_and_runs_nothing_but_what_it_holds(page: str, document: Document) -> None:
    assert not any(
        key in attributes for _, attributes in document.elements for key in ("src", "srcset", "style")
    )
    assert not any(key.startswith("on") for _, attributes in document.elements for key in attributes)
    assert not document.all("link")
    assert all(
        str(attributes["href"]).startswith("#") or "download" in attributes
        for attributes in document.all("a")
    )
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest|innerHTML", page)


def test_the_policy_allows_exactly_its_own_style_and_script(page: str, document: Document) -> None:
    (policy,) = document.all("meta", http_equiv="Content-Security-Policy")
    content = str(policy["content"])
    assert content.startswith("default-src 'none'; ")
    assert "unsafe" not in content
    for element in ("style", "script"):
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in content


def test_every_point_is_reached_by_keyboard_and_named(document: Document) -> None:
    points = document.all("g", class_="point")
    # Three measured builds, at two batch sizes, drawn for two widths.
    assert len(points) == 3 * 2 * 2
    assert all(point["tabindex"] == "0" and point["role"] == "listitem" for point in points)
    (shipped,) = {
        point["aria-label"]
        for point in points
        if str(point["aria-label"]).startswith("int8: shipped") and "batch 32" in str(point["aria-label"])
    }
    assert shipped == (
        "int8: shipped; top-1 90 % (88 to 92); drop 0.10 (−0.20 to 0.40) points; "
        "40 ms (1.9 to 2.1) at batch 32; 0.500× (0.480 to 0.520) fp32's time"
    )


def test_the_shipped_build_has_a_shape_of_its_own(document: Document) -> None:
    # One in each drawing, one in each legend, and the triangle of the class that is worse.
    assert len(document.all("polygon", class_="mark shipped")) == 4 + 2 + 1
    assert len(document.all("rect", class_="mark original")) == 4 + 2


def test_every_candidate_has_its_verdict(page: str) -> None:
    table = page[page.index('id="tried"') : page.index('id="bought"')]
    for entry in candidates():
        assert f'<th scope="row">{entry.recipe.name}</th>' in table
    for verdict in (
        "★ shipped",
        "slower than int8",
        "drops 3.00 points, outside the margin of 1",
        "failed: an operator it cannot prune",
    ):
        assert verdict in table


def test_every_table_has_a_caption_and_scrolls_in_a_frame_that_takes_focus(document: Document) -> None:
    tables = len(document.all("table"))
    assert tables > 3
    assert len(document.texts["caption"]) == tables == len(document.all("div", class_="scroll", tabindex="0"))


def test_quantization_is_told(page: str) -> None:
    section = page[page.index('id="quantization"') : page.index('id="provenance"')]
    for told in (
        "97.5 %",
        "21 QLinearConv, 1 QGemm",
        "1 + 2",
        "has no int8 kernel",
        "softmax, erf",
        "conv1, conv2",
    ):
        assert told in section
    assert "2 nodes in int8, 2 left in float" in section


def test_how_to_reproduce(page: str, tmp_path: Path) -> None:
    section = page[page.index('id="reproduce"') :]
    assert re.search(
        r"compress optimize \S+network\.onnx --data \S+val\.npz --target cpu --metric top-1 "
        r"--max-drop 1 --objective latency --threads 1",
        section,
    )
    assert re.search(r"pip install compress-toolkit==\S+ torch==", section)
    assert re.search(r"compress gate later-build --baseline \S+/build", section)
    assert "+cpu" not in section  # no index has local versions
    for entry in candidates()[1:]:
        assert f"<summary>{entry.recipe.name}.toml</summary>" in section
        assert html.escape(entry.recipe.to_toml()) in section


def test_the_command_tells_recipes_and_how_images_were_prepared() -> None:
    images = {"kind": "images", "path": "val", "options": {"size": [224, 200], "mean": [0.5], "std": None}}
    manifest = {
        "network": {"path": "net.pt2"},
        "data": {"evaluation": images, "metric": "top-1"},
        "target": {"name": "cpu"},
        "options": {"recipe": ["a.toml", "b c.toml"], "seed": 0, "factory": None},
    }
    assert command(manifest) == (
        "compress optimize net.pt2 --data val --target cpu --metric top-1 --image-size 224x200 --image-mean 0.5 "
        "--recipe a.toml --recipe 'b c.toml' --seed 0"
    )
    manifest["data"] = {"evaluation": {"kind": "loader", "from": "own:split"}, "metric": "top-1"}
    assert "--data own:split" in command(manifest)


def test_doubtful_figures_and_the_conditions_of_the_run_are_told(tmp_path: Path, page: str) -> None:
    assert "about these figures" not in page
    assert "<dt>conditions of the run</dt><dd>not recorded</dd>" in page
    entries = candidates()
    assert entries[1].profile is not None
    conditions = {"load_average": 1.5, "governor": None, "intra_op_threads": 2}
    profile = replace(entries[1].profile, warnings=("the machine is too noisy",), conditions=conditions)
    entries[1] = replace(entries[1], profile=profile)
    told = render(written(tmp_path, entries))
    assert "▲ 1 doubt about these figures" in told
    assert "<strong>int8</strong>: the machine is too noisy" in told
    assert "<dd>load average 1.5, intra op threads 2</dd>" in told


def test_the_plots_in_the_documentation_are_there_and_load_nothing() -> None:
    root = Path(__file__).parents[2]
    pages = [page.read_text(encoding="utf-8") for page in (root / "docs" / "howto").glob("*.md")]
    names = [name for page in pages for name in re.findall(r"!\[[^]]{40,}\]\(\.\./(\S+\.svg)\)", page)]
    paths = [f"docs/{name}" for name in names]
    assert sorted(paths) == sorted(str(path.relative_to(root)) for path in (root / "docs").glob("*.svg"))
    for path in paths:
        drawing = ElementTree.parse(root / path)
        assert drawing.getroot().get("role") == "img"
        assert not re.search(r"<script|href|url\(|@import", (root / path).read_text(encoding="utf-8"))


def test_each_build_tells_its_steps_with_their_settings(page: str) -> None:
    table = page[page.index('id="tried"') : page.index('id="bought"')]
    assert "quantize<small> method int8</small>" in table


def test_measured_figures_are_not_called_estimated(page: str) -> None:
    assert 'class="estimated"' not in page


def test_estimates_say_so_wherever_they_stand(tmp_path: Path) -> None:
    page = render(written(tmp_path, estimated(candidates()), "jetson"))
    rows = re.findall(r"<tr[^>]*>.*?</tr>", page[page.index('id="tried"') : page.index('id="bought"')])
    for row in rows[1:]:
        # The times at two batch sizes, each with its ratio in one cell.
        assert row.count(">estimated</em>") == (0 if ">pruned<" in row else 2)
    assert re.search(r"2 layers, 30 µs <em[^>]*>estimated", page)
    assert "what it fuses was not observed" in page
    assert "Fusion coverage" not in page
    labels = [str(point["aria-label"]) for point in Document(page).all("g", class_="point")]
    assert all("; estimated 1 ms (0.5 to 2) at batch" in label for label in labels)
    assert "Conv+Relu" in page
    assert "1×8×8×8" in page


def test_nothing_from_the_run_becomes_markup(tmp_path: Path) -> None:
    entries = candidates(HOSTILE)
    shipped = entries[1]
    assert shipped.profile is not None
    layer = replace(LAYER, name=HOSTILE, operator=HOSTILE, precision=HOSTILE)
    report = {
        "int8_nodes": [HOSTILE],
        "float_nodes": {HOSTILE: HOSTILE},
        "ranges": {HOSTILE: [0, 1]},
        "settings": {HOSTILE: HOSTILE},
    }
    profile = replace(
        shipped.profile,
        layers=(layer,),
        fingerprint={HOSTILE: HOSTILE},
        coverage=Coverage(int8={HOSTILE: 1}, int8_mac_share=1.0),
        slices=tuple(replace(part, name=f"{HOSTILE}{part.name}") for part in shipped.profile.slices),
    )
    sensitivity = {"layers": [{"layer": HOSTILE, "operator": HOSTILE, "error": 0.5, "kept": HOSTILE}]}
    reports = {"quantize": report, HOSTILE: {HOSTILE: HOSTILE}, "sensitivity": sensitivity}
    entries[1] = replace(shipped, profile=profile, reports=reports)
    entries[3] = replace(entries[3], failure=HOSTILE)
    bundle = written(tmp_path, [_storable(entry) for entry in entries])
    page = render(bundle)
    document = Document(page)
    assert not document.all("img")
    assert len(document.all("script")) == 1
    assert page.count("&lt;script&gt;") > 10
    assert document.open == []
    assert not set(page) & {"\x00", "\u202e"}
    page.encode()


def _storable(entry):  # type: ignore[no-untyped-def]
    # A bundle is written as UTF-8, which has no halves of surrogate pairs; TOML has no NUL.
    data = json.loads(json.dumps(entry.to_dict()).replace("\\ud800", "").replace("\\u0000", "\\u0007"))
    return type(entry).from_dict(data)


def test_an_original_that_is_shipped(tmp_path: Path) -> None:
    page = render(written(tmp_path, candidates()[:1]))
    assert "<h1>fp32 is shipped</h1>" in page
    assert len(Document(page).all("g", class_="point")) == 1 * 2 * 2


@pytest.mark.parametrize("name", ["profile.json", "candidates.jsonl", "recipe.toml"])
def test_a_changed_bundle_is_refused(tmp_path: Path, name: str) -> None:
    build = written(tmp_path)
    (build / name).write_bytes((build / name).read_bytes() + b" ")
    with pytest.raises(BundleError, match="sha256"):
        render(build)


@pytest.mark.parametrize("content", [b"{}\n", b"", b"[]\n", b"\xff", b"no json"])
def test_candidates_that_tell_nothing_are_refused(tmp_path: Path, content: bytes) -> None:
    build = written(tmp_path)
    (build / "candidates.jsonl").write_bytes(content)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"]["candidates.jsonl"] = hashlib.sha256(content).hexdigest()
    (build / "manifest.json").write_text(json.dumps(manifest))
    resealed(build)
    with pytest.raises(BundleError, match="candidates"):
        render(build)


@pytest.mark.parametrize(
    ("key", "value"), [("seconds", [1.0]), ("seconds", float("nan")), ("reports", []), ("rejected", 3)]
)
def test_candidates_with_values_of_other_types_are_refused(tmp_path: Path, key: str, value: object) -> None:
    build = written(tmp_path)
    first, *others = (build / "candidates.jsonl").read_text().splitlines()
    content = "\n".join([json.dumps({**json.loads(first), key: value}), *others]).encode()
    (build / "candidates.jsonl").write_bytes(content)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"]["candidates.jsonl"] = hashlib.sha256(content).hexdigest()
    (build / "manifest.json").write_text(json.dumps(manifest))
    resealed(build)
    with pytest.raises(BundleError, match=f"'{key}'"):
        render(build)


@pytest.mark.parametrize(
    "report", [True, {"int8_nodes": True}, {"float_nodes": 3}, {"ranges": {"x": [1.0]}}, {"flavour": []}]
)
def test_a_technique_s_report_of_another_form_is_shown_as_it_is(tmp_path: Path, report: object) -> None:
    first, *others = candidates()
    page = render(written(tmp_path, [replace(first, reports={"quantize": report}), *others]))
    told = html.escape(json.dumps(report, indent=1), quote=False)
    assert told in page or told.replace('"', "&quot;") in page


def test_a_bundle_without_candidates_is_refused(tmp_path: Path) -> None:
    build = written(tmp_path)
    manifest = json.loads((build / "manifest.json").read_text())
    del manifest["files"]["candidates.jsonl"]
    (build / "manifest.json").write_text(json.dumps(manifest))
    resealed(build)
    with pytest.raises(BundleError, match="candidates"):
        render(build)


@pytest.mark.parametrize("key", ["name", "reason", "target", "network", "data", "versions"])
def test_a_bundle_that_tells_of_no_run_is_refused(tmp_path: Path, key: str) -> None:
    build = written(tmp_path)
    manifest = json.loads((build / "manifest.json").read_text())
    del manifest[key]
    (build / "manifest.json").write_text(json.dumps(manifest))
    resealed(build)
    with pytest.raises(BundleError, match=f"no {key} "):
        render(build)
